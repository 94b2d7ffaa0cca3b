"""The defaults that the documentation promises."""

import pytest

from tmg_etl.config import model

DELTA = {"cursor": "day"}
SOURCE = {"connection": "a", "table": "t"}
TRANSFER = {"source": SOURCE, "target": SOURCE}
SQL = {"type": "sqlite", "url": "sqlite:///x"}
FILES = {"type": "files", "url": "."}
FLAKY = {"type": "flaky", "of": "serving"}
BIGQUERY = {"type": "bigquery", "project": "p", "dataset": "d"}

PROMISED = [
    (model.Config, {}, "connections", {}),
    (model.Config, {}, "ledger", "sqlite:///.tmg_etl/ledger.db"),
    (model.Config, {}, "packages", ["sid_dim_agent"]),
    (model.Config, {}, "transfers", {}),
    (model.Config, {}, "environments", {}),
    (model.SqlConnection, SQL, "options", {}),
    (model.SqlConnection, SQL, "schema_", None),
    (model.BigQueryConnection, BIGQUERY, "staging", None),
    (model.BigQueryConnection, BIGQUERY, "location", None),
    (model.BigQueryConnection, BIGQUERY, "billing_project", None),
    (model.BigQueryConnection, BIGQUERY, "maximum_bytes_billed", None),
    (model.BigQueryConnection, BIGQUERY, "credentials", model.Credentials()),
    (model.FilesConnection, FILES, "credentials", model.Credentials()),
    (model.FlakyConnection, FLAKY, "faults", {}),
    (model.FlakyConnection, FLAKY, "record", None),
    (model.Credentials, {}, "key_file", None),
    (model.Credentials, {}, "impersonate", None),
    (model.Credentials, {}, "quota_project", None),
    (model.SourceSpec, SOURCE, "query", None),
    (model.SourceSpec, SOURCE, "path", None),
    (model.SourceSpec, SOURCE, "format", None),
    (model.SourceSpec, SOURCE, "columns", {}),
    (model.SourceSpec, SOURCE, "read", None),
    (model.SourceSpec, SOURCE, "maximum_bytes_billed", None),
    (model.CsvSpec, {}, "delimiter", ","),
    (model.CsvSpec, {}, "quote", '"'),
    (model.CsvSpec, {}, "escape", None),
    (model.CsvSpec, {}, "header", True),
    (model.CsvSpec, {}, "null_values", [""]),
    (model.CsvSpec, {}, "encoding", "utf8"),
    (model.DeltaSpec, DELTA, "order_by", []),
    (model.DeltaSpec, DELTA, "strategy", "upsert"),
    (model.DeltaSpec, DELTA, "deleted", None),
    (model.IndexSpec, {"name": "i", "columns": ["a"]}, "unique", False),
    (model.Transfer, TRANSFER, "on_empty", "fail"),
    (model.Transfer, TRANSFER, "publish", "auto"),
    (model.Transfer, TRANSFER, "keep_previous", None),
    (model.Transfer, TRANSFER, "skip_unchanged", False),
    (model.Transfer, TRANSFER, "schema_", "fail"),
    (model.Transfer, TRANSFER, "verify", "fingerprint"),
    (model.Transfer, TRANSFER, "lock_wait_s", 60.0),
    (model.Transfer, TRANSFER, "batch_rows", 65_536),
    (model.Transfer, TRANSFER, "key", []),
    (model.Transfer, TRANSFER, "omit", []),
    (model.Transfer, TRANSFER, "reset", []),
    (model.Transfer, TRANSFER, "delta", None),
    (model.Transfer, TRANSFER, "indexes", []),
    (model.Transfer, TRANSFER, "schedule", None),
    (model.Transfer, TRANSFER, "publish_group", None),
    (model.Transfer, TRANSFER, "pipeline", None),
    (model.Transfer, TRANSFER, "description", None),
    (model.Transfer, TRANSFER, "options", {}),
]


@pytest.mark.parametrize(
    ("kind", "required", "field", "expected"), PROMISED, ids=lambda value: str(value)[:40]
)
def test_default_is_as_promised(kind, required, field, expected):
    assert getattr(kind.model_validate(required), field) == expected


def test_every_default_is_in_the_list():
    promised = {(kind, field) for kind, _, field, _ in PROMISED}
    kinds = {kind for kind, *_ in PROMISED}
    optional = {
        (kind, name)
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not field.is_required() and name not in kind.hidden
    }
    given = {(model.SourceSpec, "table"), (model.SourceSpec, "csv"), (model.Config, "defaults")}
    assert optional - given == promised


def test_defaults_section_has_the_defaults_of_a_transfer():
    fields = model.Defaults.model_fields
    assert set(fields) == {
        *("on_empty", "publish", "keep_previous", "skip_unchanged", "schema_", "verify"),
        *("lock_wait_s", "batch_rows"),
    }
    for name, field in fields.items():
        assert model.Transfer.model_fields[name].default == field.default


def test_models_are_frozen():
    delta = model.DeltaSpec.model_validate(DELTA)
    with pytest.raises(ValueError, match="frozen"):
        delta.cursor = "other"
