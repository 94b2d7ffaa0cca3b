"""Tables of every kind that people have: published with their definition kept, or refused."""

from __future__ import annotations

import pathlib

import pyarrow as pa
import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit, table_kind, test_schema_dump
from tmg_etl import errors

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "tables.md"


def test_the_page_says_what_is_tested() -> None:
    assert PAGE.read_text(encoding="utf-8") == table_kind.render(), (
        "run: python -m tests.e2e.table_kind > ../docs/tables.md"
    )


_CASES = [(server, case) for case in table_kind.CASES for server in case.servers]


@pytest.mark.parametrize(
    ("server", "case"),
    [
        pytest.param(
            server,
            case,
            id=f"{server}-{case.title}",
            # The third that is left is of each server.
            marks=[getattr(pytest.mark, server), *([pytest.mark.full] if number % 3 else [])],
        )
        for number, (server, case) in enumerate(_CASES)
    ],
)
def test_a_table_keeps_its_definition(
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
    empty_ledger: pathlib.Path,
    server: str,
    case: table_kind.Case,
) -> None:
    url = request.getfixturevalue(f"{server}_url")
    place = place_module.Postgres(url) if server == "postgres" else place_module.MySQL(url)
    place.sql(*case.statements)
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    schema = pa.schema([*table_kind.SCHEMA, ("v", case.kind)])
    text = "v::text" if server == "postgres" else "CAST(v AS CHAR)"
    before = test_schema_dump.dump(place)
    for at, (way, (more, mode)) in enumerate(table_kind.WAYS.items()):
        turned = case.values if at % 2 else case.values[::-1]
        shop.fill([(n, table_kind.DAY, one) for n, one in enumerate(turned, 1)], schema)
        shop.declare(f"key: [id]\n    {more}")
        if way in case.refused:
            with pytest.raises(errors.ConfigError, match=case.refused[way]):
                shop.plan(mode)
            continue
        shop.publish(mode)
        assert test_schema_dump.dump(place) == before, way
        held = [value for (value,) in place.sql(f"SELECT {text} FROM facts ORDER BY id")]
        shown = case.held or [str(one) for one in case.values]
        assert held == [*(shown if at % 2 else shown[::-1])], way
