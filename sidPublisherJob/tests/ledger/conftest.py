"""Ledgers on every database that it is promised for."""

import datetime
from collections.abc import Callable

import pytest

from tmg_etl.ledger import record

STARTED = datetime.datetime(2013, 7, 4, 12, 30, 15, 123456, tzinfo=datetime.UTC)


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "mysql"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/folder/ledger.db"
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


def make_record(run_id: str = "20130704123015aaaaaaaaaaaa", **changes: object) -> record.Record:
    """Make a record of a run that just began, with some fields replaced."""
    values: dict[str, object] = {
        "id": run_id,
        "transfer": "fact_flight",
        "target": "serving:fact_flight",
        "execution_date": datetime.date(2013, 7, 4),
        "window_start": datetime.date(2013, 7, 1),
        "window_end": datetime.date(2013, 7, 4),
        "write_mode": "delta",
        "env": "local",
        "config_location": "config.yaml",
        "config_digest": "d" * 64,
        "pipeline": "tmg_etl.transfer.pipeline:TransferPipeline",
        "version": "0.1.0",
        "host": "host-a",
        "pid": 1,
        "started_at": STARTED,
    }
    return record.Record(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make() -> Callable[..., record.Record]:
    """Return `make_record`."""
    return make_record
