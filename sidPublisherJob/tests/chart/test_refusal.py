"""What the chart refuses, in one line that names the value."""

from __future__ import annotations

import json

import pytest

from tests.chart import chart_kit

GROUPED = 'transfers: {a: {publish_group: g, schedule: "1 2 * * *"}, b: {publish_group: g}}'


def at(schedule: str) -> chart_kit.Values:
    """Return values in which a transfer has this schedule."""
    return chart_kit.values(transfers={"dim_plane": {"schedule": schedule}})


def connected(url: str, **more: object) -> chart_kit.Values:
    """Return values whose config has a connection to this URL, and other sections."""
    content = {"connections": {"db": {"url": url}}, "transfers": {"a": {"schedule": "1 2 * * *"}}}
    return {"config": {"content": json.dumps(content | more)}}


CASES = {
    "a misspelt value": (chart_kit.values(imagee={}), "imagee"),
    "a misspelt inner value": (chart_kit.values(job={"backofLimit": 1}), "backofLimit"),
    "no config": ({}, "config.content is empty"),
    "config that is not YAML": ({"config": {"content": "a: [1"}}, "is not YAML"),
    "an unknown environment": (chart_kit.values(config={"env": "tst"}), "dev, prod, val"),
    "an environment where there is none": (
        {"config": {"content": "transfers: {}", "env": "dev"}},
        "has the environments: none but local",
    ),
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
    "a minute that there is not": (at("99 3 * * *"), 'which has no minute "99"'),
    "an hour that there is not": (at("9 24 * * *"), 'no hour "24"'),
    "a day that there is not": (at("9 3 32 * *"), 'no day of the month "32"'),
    "a month that there is not": (at("9 3 1 13 *"), 'no month "13"'),
    "a Sunday that the controller refuses": (at("9 3 * * 7"), 'no day of the week "7"'),
    "a step of nothing": (at("*/0 3 * * *"), 'no minute "*/0"'),
    "a time zone that there is not": (
        chart_kit.values(cron={"timeZone": "Europe/Nowhere"}),
        'cron.timeZone is "Europe/Nowhere", which is no time zone',
    ),
    "a transfer's time zone that there is not": (
        chart_kit.values(transfers={"dim_plane": {"timeZone": "Local"}}),
        'transfers.dim_plane.timeZone is "Local"',
    ),
    "a day of no month": (
        chart_kit.values(run={"transfer": "dim_plane", "executionDate": "20241399"}),
        'run.executionDate is "20241399", expected YYYYMMDD',
    ),
    "the 30th of February": (
        chart_kit.values(run={"transfer": "dim_plane", "executionDate": "20240230"}),
        "a day that there is",
    ),
    "a password in a URL": (connected("mysql://sid:hush@h/d"), "connections.db: url holds a"),
    "a password after a variable": (connected("mysql://${U:-sid}:hush@h/d"), "holds a password"),
    "a password as a default": (connected("mysql://sid:${P:-hush}@h/d"), "holds a password"),
    "a password of the ledger": (connected("", ledger="postgresql://a:hush@h/l"), "ledger holds"),
    "a password of an environment": (
        connected("", environments={"dev": {"connections": {"db": {"url": "my://a:hush@h"}}}}),
        "environments.dev.connections.db: url holds a password",
    ),
    "a password as a driver's option": (
        connected("", connections={"db": {"options": {"password": "hush"}}}),
        "connections.db: password holds",
    ),
    "a password as a variable": (
        chart_kit.values(env={"DB_PASSWORD": "hush"}),
        "env.DB_PASSWORD holds a password, and anybody who may read the release would see it",
    ),
    "a password in a variable's URL": (
        chart_kit.values(env={"DB_URL": "mysql://sid:hush@h/d"}),
        "env.DB_URL holds",
    ),
    "a token of one transfer": (
        chart_kit.values(transfers={"dim_plane": {"env": {"API_TOKEN": "hush"}}}),
        "transfers.dim_plane.env.API_TOKEN holds",
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
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("engine", list(chart_kit.ENGINES))
def test_what_is_right_is_not_refused(engine: str) -> None:
    url = "mysql://${U:-sid}:${secret:projects/p/secrets/s}@${H:-h}:3306/d?ssl=a@b"
    env = {"TOKEN_FILE": "/x", "DB_PASSWORD": "", "PROXY": "http://h:8080/"}
    gone = {"dev": {"connections": {"db": None}}, "val": None}
    for schedule in ("*/15 0-6/2,12 1,31 jan-DEC mon-5", "H 3 * * *", "0 0 * * 0"):
        values = connected(url, ledger="${LEDGER_URL:-sqlite:////tmp/l.db}", environments=gone)
        zones = {"a": {"schedule": schedule, "timeZone": "America/Sao_Paulo"}}
        more = {"env": env, "transfers": zones, "cron": {"timeZone": "Etc/UCT"}}
        chart_kit.ENGINES[engine].render(values | more)


@pytest.mark.parametrize("engine", list(chart_kit.ENGINES))
def test_lint_refuses_a_misspelt_value(engine: str) -> None:
    found = chart_kit.ENGINES[engine].lint(chart_kit.values(imagee={}))
    assert any("imagee" in line for line in found)
