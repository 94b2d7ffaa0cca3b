"""What a target can do."""

from __future__ import annotations

import dataclasses
import datetime
import enum

from tmg_etl.connectors.base.proof import TextFormat


class Ingest(enum.Enum):
    """What `Target.load` takes."""

    ARROW = "arrow"
    TEXT = "text"


class Proof(enum.Enum):
    """Where the fingerprint of a table is computed."""

    DATABASE = "database"  # `Target.fingerprint`, one aggregate query
    READ_BACK = "read_back"  # `Target.scan`, then hashed like what was sent


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a target can do; transfers ask this and never the class.

    Attributes:
        ingest: what `load` takes.
        proof: where fingerprints are computed.
        scans_ahead: `Target.scan` shares nothing with what else the target does, so that it may go
            on in another thread.
        can_diff: in-database diff (`Target.diff`).
        can_merge: delta (`Target.merge` and the staging methods).
        can_rehearse: merges can be counted without writing (`Target.rehearsal`).
        swap_moves: a swap makes the shadow itself the table; else it copies it, and the shadow is
            dropped like all else that was made.
        can_keep: a swap can keep the replaced table, and a later one put it back.
        can_group: several tables are published in one step (`Target.beside`).
        can_alter_together: columns are added in the transaction that fills them.
        unique_at_end: unique keys are looked at when a statement has changed all its rows; else row
            by row, so that values cannot change places.
        has_nan: floats may be NaN or infinite.
        has_infinity: floats may be infinite.
        has_negative_zero: -0.0 is kept apart from 0.0.
        has_nul: text may hold the character NUL.
        folds_case: columns whose names differ only by the case of A to Z are one column.
        max_decimal: largest (precision, scale).
        min_date: smallest day that a date or timestamp column holds.
        zoned_timestamps: instants keep their kind; else they become UTC wall-clock timestamps.
        text: how values are written; the canonical text is made by it for every target.
    """

    ingest: Ingest
    proof: Proof
    scans_ahead: bool = False
    can_diff: bool = True
    can_merge: bool = True
    can_rehearse: bool = False
    swap_moves: bool = True
    can_keep: bool = False
    can_group: bool = False
    can_alter_together: bool = True
    unique_at_end: bool = False
    has_nan: bool = True
    has_infinity: bool = True
    has_negative_zero: bool = True
    has_nul: bool = True
    folds_case: bool = False
    max_decimal: tuple[int, int] = (76, 76)
    min_date: datetime.date = datetime.date.min
    zoned_timestamps: bool = True
    text: TextFormat = dataclasses.field(default_factory=TextFormat)
