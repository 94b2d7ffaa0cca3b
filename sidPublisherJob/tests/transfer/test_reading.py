"""What a run says of its reading: bytes and jobs, also when it fails on the way."""

import pathlib

import pyarrow as pa
import pytest

from tests.conformance.test_files_target import FilesPlace
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.testing.conformance import publication

ROWS = pa.table({"id": range(10), "name": [str(number) for number in range(10)]})


class Telling(publication.FailingSource):
    """Says what it used, more while it is read."""

    is_read = False

    def read(self, *arguments, **named):  # type: ignore[no-untyped-def]
        """Yield the rows."""
        self.is_read = True
        yield from super().read(*arguments, **named)

    @property
    def bytes_read(self) -> int:
        """Return bytes."""
        return 4_096 if self.is_read else 1

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Return jobs."""
        return ("job_1", "job_2") if self.is_read else ("job_1",)


@pytest.mark.parametrize("fails", [True, False])
def test_bytes_and_jobs_are_reported(tmp_path: pathlib.Path, fails: bool) -> None:
    def fail() -> None:
        if fails:
            raise errors.ConnectionLostError("the source went away")

    def source(run: run_module.Run) -> base.Source:
        return Telling(ROWS, fail, after=1)

    one = publication.Publication(FilesPlace(tmp_path), "t")
    outcome = one.run(source)
    assert (outcome.error is not None) is fails
    assert outcome.result.bytes_read == 4_096
    assert outcome.result.job_ids == ("job_1", "job_2")


def test_a_source_that_does_not_tell(tmp_path: pathlib.Path) -> None:
    result = publication.Publication(FilesPlace(tmp_path), "t").publish(ROWS)
    assert result.bytes_read is None
    assert result.job_ids == ()
