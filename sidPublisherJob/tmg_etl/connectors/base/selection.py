"""Which rows are meant: windows of days, keys of a staging table, buckets of a hash."""

from __future__ import annotations

import dataclasses
import datetime


@dataclasses.dataclass(frozen=True)
class CursorWindow:
    """The rows of a closed day interval, by one column.

    A date column is compared by day; a timestamp by the half-open interval [start 00:00, the day
    after end 00:00) in UTC; an integer or text column as ``YYYYMMDD``. Rows whose cursor is null
    are in no window.
    """

    column: str
    start: datetime.date
    end: datetime.date

    @property
    def end_exclusive(self) -> datetime.date | None:
        """Return the day after `end`; None where the calendar ends (9999-12-31)."""
        if self.end == datetime.date.max:
            return None
        return self.end + datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Rows sorted into buckets by a hash, so that two sides can be compared piece by piece.

    A row's bucket is the number that its `columns` add to a `Fingerprint`, modulo `count`.

    Attributes:
        count: how many buckets there are.
        columns: what is hashed, in this order: the key, or the whole row where there is none.
        wanted: only rows of these buckets; None means all.
    """

    count: int
    columns: tuple[str, ...]
    wanted: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows of a table are meant; the default means all of them.

    Attributes:
        window: only rows in this window.
        keys_of: only rows whose key is in this staging table.
        key: the key columns for `keys_of`.
        buckets: only rows of its wanted buckets; for targets that have `Target.bucket_sums`.
    """

    window: CursorWindow | None = None
    keys_of: str | None = None
    key: tuple[str, ...] = ()
    buckets: Buckets | None = None
