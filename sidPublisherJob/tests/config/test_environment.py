"""Environments: mappings merge, the rest replaces, errors point at what was written."""

import pytest

from tmg_etl import errors

TEXT = """\
connections:
  lake: {type: files, url: lake/}
  serving: {type: postgres, url: "postgresql://localhost/dev", options: {sslmode: disable}}
defaults: {verify: count}
transfers:
  plane:
    source: {connection: lake, table: planes}
    target: {connection: serving, table: plane}
    key: [tailnum, year]
    delta: {cursor: day}
environments:
  empty:
  prod:
    connections:
      serving: {url: "postgresql://db/prod"}
    defaults: {lock_wait_s: 5}
    ledger: sqlite:///prod.db
    transfers:
      plane: {key: [tailnum], delta: {order_by: [version]}}
      extra:
        source: {connection: lake, table: extra}
        target: {connection: serving, table: extra}
  cloud:
    connections:
      lake: {type: bigquery, project: p, dataset: d}
    transfers:
      plane: {source: {query: SELECT 1}, delta: null}
  wrong:
    transfers:
      plane:
        delta:
          strategy: merge
"""


def test_local_may_be_absent(load):
    assert load(TEXT).transfer("plane").key == ["tailnum", "year"]


def test_local_is_merged_when_written(load):
    text = TEXT + "  local:\n    defaults: {verify: fingerprint}\n"
    assert load(text).transfer("plane").verify == "fingerprint"


def test_empty_environment_changes_nothing(load):
    assert load(TEXT, "empty").digest == load(TEXT).digest


def test_mappings_merge_and_lists_replace(load, tmp_path):
    config = load(TEXT, "prod")
    serving = config.connections["serving"]
    assert config.env == "prod"
    assert serving.type == "postgres"
    assert serving.url == "postgresql://db/prod"
    assert serving.options == {"sslmode": "disable"}
    assert config.ledger == f"sqlite:///{tmp_path}/prod.db"
    plane = config.transfer("plane")
    assert plane.key == ["tailnum"]
    assert (plane.delta.cursor, plane.delta.order_by) == ("day", ["version"])
    assert (plane.verify, plane.lock_wait_s) == ("count", 5.0)
    assert list(config.transfers) == ["plane", "extra"]


def test_connection_of_another_type_replaces_the_whole(load):
    lake = load(TEXT, "cloud").connections["lake"]
    assert (lake.type, lake.project, lake.url) == ("bigquery", "p", "")


def test_query_replaces_the_table_and_null_removes(load):
    plane = load(TEXT, "cloud").transfer("plane")
    assert (plane.source.table, plane.source.query) == (None, "SELECT 1")
    assert plane.delta is None


def test_error_in_a_merged_value_points_at_its_line(load):
    with pytest.raises(errors.ConfigError) as caught:
        load(TEXT, "wrong")
    assert caught.value.where == "config.yaml:32:transfers.plane.delta.strategy"


def test_base_of_a_replaced_value_is_not_resolved(load):
    text = TEXT.replace("postgresql://localhost/dev", "postgresql://${DEV_HOST}/dev")
    assert load(text, "prod").connections["serving"].url == "postgresql://db/prod"
    with pytest.raises(errors.ConfigError, match="DEV_HOST"):
        load(text)
