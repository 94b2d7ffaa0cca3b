"""The table of runs in plain names and values: what a run needs to write its row.

`model` gives the same names, lengths and values to SQLAlchemy, which a run does not import.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping

HEAD = "0004"
"""The newest migration. Written here so that an up-to-date ledger needs no Alembic."""

VERSION = "tmg_etl_version"
"""Not Alembic's default name: the ledger may share a database with another application."""

RUN = "tmg_etl_run"

LENGTHS = {
    "id": 32,
    "transfer": 200,
    "target": 500,
    "write_mode": 20,
    "env": 200,
    "config_location": 1000,
    "config_digest": 64,
    "pipeline": 500,
    "version": 50,
    "host": 255,
    "status": 20,
    "publish": 40,
    "publish_reason": 500,
    "fingerprint_source": 200,
    "fingerprint_target": 200,
    "previous_table": 64,
    "previous_fingerprint": 200,
}
"""Characters of each column of limited length."""

ERROR_LENGTH = 2000
"""Characters that are kept of any other text."""


def stored(value: object) -> object:
    """Return what the database is given for a value of a `record.Record`.

    An instant becomes naive UTC: databases disagree on what a type with time zone stores; none
    disagrees on a plain one. A mapping or a list becomes JSON text; an empty list null.

    Raises:
        ValueError: an instant has no time zone.
    """
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise ValueError(f"an instant without time zone: {value}")
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    if isinstance(value, tuple):
        return json.dumps(value) if value else None
    return value
