"""What the chart refuses, in one line that names the value."""

from __future__ import annotations

import pytest

from tests.chart import chart_kit

GROUPED = 'transfers: {a: {publish_group: g, schedule: "1 2 * * *"}, b: {publish_group: g}}'

CASES = {
    "a misspelt value": (chart_kit.values(imagee={}), "imagee"),
    "a misspelt inner value": (chart_kit.values(job={"backofLimit": 1}), "backofLimit"),
    "no config": ({}, "config.content is empty"),
    "config that is not YAML": ({"config": {"content": "a: [1"}}, "is not YAML"),
    "an unknown environment": (chart_kit.values(config={"env": "tst"}), "dev, prod, val"),
    "a setting of an unknown transfer": (
        chart_kit.values(transfers={"dim_plan": {"suspend": True}}),
        "transfers.dim_plan: the config has no such transfer",
    ),
    "a run of an unknown transfer": (
        chart_kit.values(run={"transfer": "x", "executionDate": "20240101"}),
        'no transfer "x", it has: dim_airline, dim_plane, fact_flight',
    ),
    "a run without a day": (chart_kit.values(run={"transfer": "dim_plane"}), "expected YYYYMMDD"),
    "nothing scheduled where nothing is suspended": (
        {"config": {"content": "transfers: {a: {}}\nenvironments: {prod: {}}", "env": "prod"}},
        "no transfer has a schedule, so the environment prod would never run",
    ),
    "a config that only pods can read": (
        {"config": {"location": "gs://b/c.yaml"}},
        "no transfer has a schedule",
    ),
    "a schedule that is none": (
        chart_kit.values(transfers={"dim_plane": {"schedule": "daily"}}),
        "the schedule of dim_plane",
    ),
    "a proxy without an instance": (chart_kit.values(sqlProxy={"enabled": True}), "instance"),
    "a tag that moves": (chart_kit.values(image={"tag": "latest"}), "tag"),
    "a key without a Secret": (
        chart_kit.values(secrets={"googleCredentials": "x.json"}),
        "secrets.existing, which is empty",
    ),
    "two transfers of one name": (
        {
            "config": {
                "content": 'transfers: {a_b: {schedule: "1 2 * * *"}, a-b: {schedule: "1 2 * * *"}}'
            }
        },
        "would have one name",
    ),
    "a setting of a member of a group": (
        {"config": {"content": GROUPED}, "transfers": {"a": {"suspend": True}}},
        "transfers.a: it runs as a member of the publish group g only: write it as transfers.g",
    ),
    "a run of a member of a group": (
        {"config": {"content": GROUPED}, "run": {"transfer": "a", "executionDate": "20240101"}},
        "run.transfer: a runs as a member of the publish group g only: run g",
    ),
    "members that run at different times": (
        {"config": {"content": GROUPED.replace("b: {", 'b: {schedule: "3 4 * * *", ')}},
        'transfers.b.schedule: the publish group g runs at "1 2 * * *" and at "3 4 * * *"',
    ),
    "a group named like a transfer": (
        {"config": {"content": GROUPED.replace("b:", "g:")}},
        "the publish group g has the name of a transfer",
    ),
    "a transfer named like a template": (
        {"config": {"content": 'transfers: {run: {schedule: "1 2 * * *"}}'}},
        "would have one name",
    ),
}


@pytest.mark.parametrize("engine", list(chart_kit.ENGINES))
@pytest.mark.parametrize("case", list(CASES))
def test_wrong_values_are_refused(engine: str, case: str) -> None:
    values, expected = CASES[case]
    with pytest.raises(chart_kit.RefusedError) as refused:
        chart_kit.ENGINES[engine].render(values)
    assert expected in str(refused.value)


@pytest.mark.parametrize("engine", list(chart_kit.ENGINES))
def test_lint_refuses_a_misspelt_value(engine: str) -> None:
    found = chart_kit.ENGINES[engine].lint(chart_kit.values(imagee={}))
    assert any("imagee" in line for line in found)
