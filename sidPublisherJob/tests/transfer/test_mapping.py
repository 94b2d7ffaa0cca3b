"""The schema rules of a transfer, and the choice of how to publish."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base
from tmg_etl.transfer import mapping, publish

ABLE = base.Capabilities(base.Ingest.TEXT, base.Proof.DATABASE, can_keep=True)
FILES = base.Capabilities(base.Ingest.ARROW, base.Proof.READ_BACK, can_diff=False, can_merge=False)
TRUNCATE, DELTA = run_module.WriteMode.TRUNCATE, run_module.WriteMode.DELTA
SOURCE = pa.schema([("id", pa.int64()), ("name", pa.string()), ("day", pa.date32())])


def transfer(**keys: Any) -> model.Transfer:
    return model.Transfer.model_validate(
        {
            "source": {"connection": "lake", "table": "t"},
            "target": {"connection": "serving", "table": "t"},
            **keys,
        }
    )


def column(name: str, kind: pa.DataType, **facts: Any) -> base.Column:
    nullable = facts.pop("nullable", True)
    return base.Column(pa.field(name, kind, nullable), str(kind), **facts)


TABLE = base.Table(
    (
        column("name", pa.string()),
        column("id", pa.int64(), nullable=False),
        column("day", pa.date32()),
    ),
    primary_key=("id",),
    row_estimate=10,
)


def resolve(
    declared: model.Transfer,
    source: pa.Schema = SOURCE,
    table: base.Table = TABLE,
    mode: run_module.WriteMode = TRUNCATE,
) -> mapping.Mapping:
    return mapping.resolve(declared, source, table, None, ABLE, mode)


def test_columns_come_in_the_order_of_the_target() -> None:
    columns = resolve(transfer(key=["id"]))
    assert columns.names == ["name", "id", "day"]
    assert columns.read == ("name", "id", "day")
    assert columns.required == {"id"}


def test_extra_and_missing_columns_are_listed_together() -> None:
    source = pa.schema([("id", pa.int64()), ("name", pa.string()), ("extra", pa.int8())])
    table = base.Table((*TABLE.columns[:2], column("day", pa.date32(), nullable=False)))
    with pytest.raises(errors.SchemaConflictError) as caught:
        resolve(transfer(), source, table)
    assert "the target lacks the column 'extra'" in str(caught.value)
    assert "the source lacks the column 'day', which has no default" in str(caught.value)
    assert caught.value.exit_code == 78
    assert "write `schema: evolve`" in str(caught.value)
    with pytest.raises(errors.SchemaConflictError) as caught:
        resolve(transfer(schema="evolve"), source, table)
    assert "evolve" not in str(caught.value), "it is set already"


def test_a_column_of_another_case_is_pointed_out() -> None:
    source = pa.schema([("id", pa.int64()), ("Name", pa.string()), ("day", pa.date32())])
    with pytest.raises(
        errors.SchemaConflictError, match=r"lacks the column 'Name' \(it has 'name'"
    ):
        resolve(transfer(), source)


def test_columns_that_differ_only_by_case_are_refused_where_they_are_one() -> None:
    source = pa.schema([*SOURCE, ("Name", pa.string()), ("ÉTÉ", pa.int8()), ("éTÉ", pa.int8())])
    folding = dataclasses.replace(ABLE, folds_case=True)

    def plan(**keys: Any) -> list[str]:
        declared = transfer(**keys)
        planned = base.Table(
            tuple(base.Column(field, "x") for field in mapping.new_fields(declared, source, ABLE))
        )
        return mapping.resolve(declared, source, None, planned, folding, TRUNCATE).names

    with pytest.raises(errors.SchemaConflictError, match="'name' and 'Name' differ only by case"):
        plan()
    assert plan(omit=["Name"]) == ["id", "name", "day", "ÉTÉ", "éTÉ"]
    with pytest.raises(errors.SchemaConflictError, match="'name' and 'Name' differ only by case"):
        mapping.resolve(
            transfer(schema="evolve", omit=["name"]), source, TABLE, None, folding, TRUNCATE
        )


def test_omit_names_columns_of_either_side() -> None:
    source = pa.schema([("id", pa.int64()), ("name", pa.string()), ("extra", pa.int8())])
    assert resolve(transfer(omit=["extra", "day"]), source).names == ["name", "id"]


def test_a_default_fills_what_the_source_lacks() -> None:
    table = base.Table((*TABLE.columns, column("at", pa.timestamp("us"), has_default=True)))
    assert resolve(transfer(), table=table).names == ["name", "id", "day"]


def test_columns_that_the_source_lacks_are_the_targets_own() -> None:
    more = (
        column("status", pa.string(), has_default=True, nullable=False),
        column("twice", pa.int64(), is_generated=True),
        column("note", pa.string()),
    )
    columns = resolve(transfer(omit=["day"]), table=base.Table((*TABLE.columns, *more)))
    assert columns.own == ("day", "status", "note")
    assert columns.kept(["note"]) == ["day", "status"]


def test_what_is_written_as_a_whole_is_not_emptied_without_a_word() -> None:
    table = base.Table((*TABLE.columns, column("note", pa.string())))
    for keys in ({"omit": ["note"]}, {"reset": ["note"]}):
        mapping.resolve(transfer(**keys), SOURCE, table, None, FILES, TRUNCATE)
    with pytest.raises(errors.SchemaConflictError, match="lacks the column 'note', which has no"):
        mapping.resolve(transfer(), SOURCE, table, None, FILES, TRUNCATE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("day", "`reset` names 'day', which the source fills"),
        ("stats", r"`reset` names 'stats', which the target does not have \(did you mean 'status'"),
    ],
)
def test_only_columns_of_the_targets_own_are_reset(name: str, message: str) -> None:
    table = base.Table((*TABLE.columns, column("status", pa.string(), has_default=True)))
    with pytest.raises(errors.SchemaConflictError, match=message):
        resolve(transfer(reset=[name]), table=table)


def test_a_computed_column_cannot_be_published_into() -> None:
    table = base.Table((*TABLE.columns[:2], column("day", pa.date32(), is_generated=True)))
    with pytest.raises(errors.SchemaConflictError, match="'day' is computed by the target"):
        resolve(transfer(), table=table)


def test_evolve_adds_nullable_columns() -> None:
    source = SOURCE.append(pa.field("extra", pa.list_(pa.int8()), nullable=False))
    columns = resolve(transfer(schema="evolve"), source)
    assert columns.added.names == ["extra"]
    assert base.is_json(columns.added.field("extra"))
    assert columns.added.field("extra").nullable


def test_types_that_do_not_fit_are_refused_with_the_native_type() -> None:
    table = base.Table(
        (column("id", pa.int64()), column("name", pa.int8()), column("day", pa.date32()))
    )
    with pytest.raises(errors.SchemaConflictError, match=r"'name': string does not become int8"):
        resolve(transfer(), table=table)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"key": ["ident"]}, r"`key` names 'ident', which the source does not have"),
        ({"key": ["nam"]}, r"did you mean 'name'"),
        ({"omit": ["nothing"]}, r"`omit` names 'nothing'"),
        ({"indexes": [{"name": "i", "columns": ["dya"]}]}, r"`indexes` names 'dya'.*'day'"),
        ({"key": ["id"], "delta": {"cursor": "dya"}}, r"`delta.cursor` names 'dya'"),
        ({"key": ["id"], "delta": {"cursor": "day", "order_by": ["v"]}}, r"`delta.order_by`"),
    ],
)
def test_names_that_the_source_does_not_have(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.SchemaConflictError, match=message):
        resolve(transfer(**keys))


def test_a_delta_stages_what_only_the_merge_needs() -> None:
    source = SOURCE.append(pa.field("version", pa.int64())).append(pa.field("gone", pa.bool_()))
    delta = {"cursor": "day", "order_by": ["version"], "strategy": "replace_window"}
    keys: dict[str, Any] = {"key": ["id"], "omit": ["version", "gone"], "delta": delta}
    assert resolve(transfer(**keys), source, mode=DELTA).extra.names == ["version"]
    delta["deleted"] = "gone"
    columns = resolve(transfer(**keys), source, mode=DELTA)
    assert columns.extra.names == ["version", "gone"]
    assert columns.names == ["name", "id", "day"]
    assert resolve(transfer(**keys), source, mode=TRUNCATE).read == ("name", "id", "day")


def test_a_new_table_is_planned_from_the_source() -> None:
    declared = transfer(key=["id"], omit=["name"])
    fields = mapping.new_fields(declared, SOURCE, ABLE)
    assert fields.names == ["id", "day"]
    assert not fields.field("id").nullable
    planned = base.Table(tuple(column(f.name, f.type, nullable=f.nullable) for f in fields))
    columns = mapping.resolve(declared, SOURCE, None, planned, ABLE, TRUNCATE)
    assert columns.is_new
    assert columns.names == ["id", "day"]


BIG = base.Table(TABLE.columns, primary_key=("id",), row_estimate=10_000_000)
BLOCKED = base.Table(
    TABLE.columns, row_estimate=10_000_000, swap_blockers=("referenced by view v",)
)


@pytest.mark.parametrize(
    ("keys", "table", "capabilities", "kind", "reason"),
    [
        ({}, None, ABLE, "swap", "new"),
        ({"key": ["id"]}, TABLE, ABLE, "diff", "small"),
        ({"key": ["id"]}, BIG, ABLE, "swap", "nothing depends"),
        ({}, TABLE, ABLE, "swap", "nothing depends"),
        ({"key": ["id"]}, BLOCKED, ABLE, "diff", "view v"),
        ({}, BLOCKED, ABLE, "replace", "view v"),
        (
            {"key": ["id"], "indexes": [{"name": "by_day", "columns": ["day"]}]},
            TABLE,
            ABLE,
            "swap",
            "lacks the index by_day",
        ),
        ({"key": ["id"], "omit": ["name"]}, BIG, ABLE, "diff", "reset the column 'name', which"),
        ({"key": ["id"], "reset": ["name"]}, TABLE, ABLE, "swap", "nothing depends"),
        ({"reset": ["name"], "publish": "swap"}, BIG, ABLE, "swap", "asks for it"),
        ({"omit": ["name"]}, TABLE, FILES, "swap", "nothing depends"),
        ({"key": ["id"]}, TABLE, FILES, "swap", "nothing depends"),
        ({"key": ["id"], "publish": "swap"}, TABLE, ABLE, "swap", "asks for it"),
        ({"key": ["id"], "publish": "diff"}, BIG, ABLE, "diff", "asks for it"),
    ],
)
def test_auto_picks_and_says_why(
    keys: dict[str, Any],
    table: base.Table | None,
    capabilities: base.Capabilities,
    kind: str,
    reason: str,
) -> None:
    kept = keys.get("omit", [])
    choice = publish.choose(transfer(**keys), table, capabilities, TRUNCATE, kept)
    assert choice.kind == kind
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("keys", "table", "capabilities", "mode", "message"),
    [
        ({"publish": "swap"}, BLOCKED, ABLE, TRUNCATE, "cannot be swapped.*view v"),
        ({"publish": "diff"}, TABLE, ABLE, TRUNCATE, "needs a key"),
        ({"omit": ["name"]}, TABLE, ABLE, TRUNCATE, "would reset the column 'name'"),
        ({"omit": ["name"], "publish": "swap"}, TABLE, ABLE, TRUNCATE, "would reset the column"),
        ({"omit": ["name"], "keep_previous": "1h"}, TABLE, ABLE, TRUNCATE, "would reset the col"),
        ({"publish": "diff", "key": ["id"]}, TABLE, FILES, TRUNCATE, "needs a database"),
        ({}, TABLE, ABLE, DELTA, "declares no `delta:`"),
        ({"key": ["id"], "delta": {"cursor": "day"}}, TABLE, FILES, DELTA, "truncate only"),
    ],
)
def test_what_cannot_be_published_is_refused(
    keys: dict[str, Any],
    table: base.Table,
    capabilities: base.Capabilities,
    mode: run_module.WriteMode,
    message: str,
) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        publish.choose(transfer(**keys), table, capabilities, mode, keys.get("omit", []))
