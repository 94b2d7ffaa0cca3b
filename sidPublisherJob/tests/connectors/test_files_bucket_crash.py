"""kill -9 at each request of a publish to a bucket: the table is old or new, a rerun cleans up."""

import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from tests.connectors import bucket_kit
from tests.connectors.test_files_bucket_target import Publisher
from tests.storage import gcs_api, gcs_fake
from tmg_etl.connectors import lease

# The parent imports and forks, and must not talk to anybody itself. It writes the child's pid
# before the child begins, and its end.
_HARNESS = """
import os, pathlib, sys
import duckdb, google.cloud.storage, pyarrow as pa, pyarrow.parquet
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import base, files
from tmg_etl.connectors.files import published

def publish(version):
    spec = model.FilesConnection(type="files", name="lake", url=sys.argv[1])
    target = files.FilesConnection(spec, pathlib.Path("/")).open_target("t")
    target.row_group_rows = 10
    names = run_module.TemporaryNames(run_module.new_run_id())
    shadow = names.table("shadow", "t")
    with target.lock(names.run_id, 5):
        target.sweep(names)
        data = pa.record_batch({"n": list(range(50)), "v": [version] * 50})
        target.describe()
        target.create(shadow, data.schema, ["n"], [])
        target.load(shadow, base.Batch(data, None, 0), ["n"])
        target.finish_load(shadow, ["n"])
        assert sum(batch.num_rows for batch in target.scan(shadow, ["v"], base.Selection())) == 50
        target.check_lock()
        target.swap(shadow, names)
        target.drop(shadow)
    target.close()

for line in sys.stdin:
    begin, let = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(begin, 1)
        publish(int(line))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    os.write(let, b"x")
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.close(begin)
    os.close(let)
"""


class Harness:
    """Publishes in processes of its own, killed at a request."""

    def __init__(self, place: bucket_kit.GooglePlace) -> None:
        self.server = place.server
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HARNESS, place.root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def publish(self, version: int, killed_at: int, *, after: bool) -> bool:
        """Publish; return whether the process lived to its end."""
        pid = int(self._say(str(version)))
        seen = 0

        def kill(request: gcs_api.Request) -> bool:
            nonlocal seen
            seen += 1
            if seen == killed_at:
                os.kill(pid, signal.SIGKILL)
            return seen == killed_at

        self.server.faults = [gcs_fake.Fault(kill, 0, b"", 1, {}, after)]
        status = int(self._say(""))
        self.server.faults = []
        assert status in (0, -signal.SIGKILL)
        return status == 0

    def _say(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0


def version_of(place: bucket_kit.GooglePlace) -> int:
    """Return what is published, having checked that it is whole."""
    table = place.table("t.parquet")
    assert table.column("n").to_pylist() == list(range(50))
    (version,) = set(table.column("v").to_pylist())
    return int(version)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_each_request(
    google_place: bucket_kit.GooglePlace, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(lease, "TTL_S", 0.3)
    harness = Harness(google_place)
    assert harness.publish(0, 0, after=False)
    last, number, outcomes = 0, 0, set()
    while True:
        number += 1
        lived = harness.publish(number, number, after=after)
        found = version_of(google_place)
        assert found in (last, number)
        outcomes.add(found == number)
        if lived:
            break
        # The next run takes the dead one's lock, removes what it left, and publishes.
        one = Publisher(google_place)
        rows = pa.table({"n": range(50), "v": [-number] * 50})
        with one.target.lock(one.names.run_id, 5):
            one.prepare(rows)
            assert len(google_place.names()) == 3
            one.target.check_lock()
            one.target.swap(one.shadow, one.names)
            one.target.drop(one.shadow)
        one.target.close()
        assert google_place.names() == ["t.parquet"]
        last = version_of(google_place)
        assert last == -number
    harness.close()
    assert number > 15
    assert outcomes == {True, False}
