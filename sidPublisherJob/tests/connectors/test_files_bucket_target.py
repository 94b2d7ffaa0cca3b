"""One Parquet object in a bucket as a target: replaced in one step, fenced, refused and swept."""

import contextlib
import datetime
import json
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.connectors import bucket_kit, files_kit
from tests.connectors.folder_kit import SCHEMA, table
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base, lease
from tmg_etl.connectors.files import published


class Publisher(files_kit.Publisher):
    """Goes the way of a truncate into a bucket."""

    def __init__(self, place: bucket_kit.Place, name: str = "t") -> None:
        self.table = name
        self.target = place.connection().open_target(name)
        self.names = run_module.TemporaryNames(run_module.new_run_id())
        self.shadow = self.names.table("shadow", name)

    def prepare(self, data: pa.Table) -> None:
        """Do everything before the publish; the lock is held by the caller."""
        self.target.sweep(self.names)
        self.target.describe()
        self.stage(data)


def ids(place: bucket_kit.Place, name: str = "t") -> list[int]:
    found: list[int] = place.table(f"{name}.parquet").column("id").to_pylist()
    return found


def test_an_object_is_created_and_replaced(place: bucket_kit.Place) -> None:
    assert Publisher(place).publish(table(1, 2, 3), ["id"]) == 0
    assert ids(place) == [1, 2, 3]
    assert Publisher(place).publish(table(4), ["id"]) == 3
    assert Publisher(place).publish(table(), ["id"]) == 1
    assert ids(place) == []
    assert place.names() == ["t.parquet"]


@pytest.mark.parametrize("name", ["mart/ä b;'x#?%20", "a//b", "日本"])
def test_odd_names(google_place: bucket_kit.GooglePlace, name: str) -> None:
    Publisher(google_place, name).publish(table(1), ["id"])
    assert Publisher(google_place, name).publish(table(2)) == 1
    assert google_place.names() == [f"{name}.parquet"]
    assert google_place.rows(table=name) == table(2).to_pylist()


def test_what_is_written_can_be_a_source(google_place: bucket_kit.GooglePlace) -> None:
    Publisher(google_place).publish(table(1, 2))
    with google_place.opened() as found:
        assert found.schema().equals(SCHEMA, check_metadata=True)
        assert files_kit.rows(found) == table(1, 2).to_pylist()


def test_the_object_says_who_wrote_it(google_place: bucket_kit.GooglePlace) -> None:
    one = Publisher(google_place)
    one.publish(table(1, 2), ["id"])
    data = google_place.get_object(google_place.key("t.parquet"))
    facts = json.loads(pq.read_metadata(pa.BufferReader(data)).metadata[b"tmg_etl"])
    assert (facts["run_id"], facts["table"], facts["key"]) == (one.names.run_id, "t", ["id"])
    described = Publisher(google_place).target.describe()
    assert described is not None
    assert described.schema.equals(SCHEMA, check_metadata=True)
    assert (described.primary_key, described.row_estimate) == (("id",), 2)


def test_schema_evolution(google_place: bucket_kit.GooglePlace) -> None:
    Publisher(google_place).publish(table(1))
    one = Publisher(google_place)
    with one.target.lock("run", 0):
        one.target.add_columns(pa.schema([pa.field("extra", pa.int8(), nullable=False)]))
        described = one.target.describe()
        assert described is not None
        assert described.schema.names == ["id", "s", "j", "extra"]
        one.target.create_shadow(one.shadow, [])
        one.load(table(2))
        one.target.swap(one.shadow, one.names)
    assert google_place.table("t.parquet").to_pylist() == [
        {"id": 2, "s": "x", "j": '{"a": 1}', "extra": None}
    ]


def test_rows_are_read_back_by_count_and_window(google_place: bucket_kit.GooglePlace) -> None:
    days = [datetime.date(2024, 1, number) for number in range(1, 11)]
    one = Publisher(google_place)
    one.stage(pa.table({"day": days, "n": range(10)}))
    window = base.CursorWindow("day", days[2], days[4])
    everything = one.target.fingerprint(one.shadow, ["n"], base.Selection(), hashes=False)
    some = one.target.fingerprint(one.shadow, ["n"], base.Selection(window=window), hashes=False)
    assert (everything.rows, some.rows) == (10, 3)
    batches = one.target.scan(one.shadow, ["n"], base.Selection(window=window))
    assert [row for batch in batches for row in batch.to_pylist()] == [{"n": n} for n in (2, 3, 4)]


def test_reading_holds_one_state(google_place: bucket_kit.GooglePlace) -> None:
    Publisher(google_place).publish(table(1, 2))
    one = Publisher(google_place)
    with one.target.reading():
        assert one.target.fingerprint("t", ["id"], base.Selection(), hashes=False).rows == 2
        Publisher(google_place).publish(table(3))
        with pytest.raises(errors.TemporaryError, match="lake changed under the run"):
            one.target.fingerprint("t", ["id"], base.Selection(), hashes=False)
    assert one.target.fingerprint("t", ["id"], base.Selection(), hashes=False).rows == 1


def test_a_doubled_key_is_named(google_place: bucket_kit.GooglePlace) -> None:
    one = Publisher(google_place)
    with pytest.raises(errors.DuplicateKeyError) as caught:
        one.stage(table(1, 2, 1), ["id"])
    assert caught.value.key == {"id": 1}
    one.target.drop(one.shadow)
    assert google_place.names() == []


def test_large_tables_are_uploaded_in_pieces(google_place: bucket_kit.GooglePlace) -> None:
    noise = [f"{number * 104_729:0128x}" for number in range(200_000)]
    data = pa.table({"id": range(200_000), "s": noise})
    one = Publisher(google_place)
    assert isinstance(one.target, published.BucketTarget)
    one.target.row_group_rows = 20_000
    one.publish(data, ["id"])
    assert google_place.table("t.parquet").equals(data.cast(google_place.table("t.parquet").schema))
    assert google_place.server.count("PUT") > 2


# --- refusals ------------------------------------------------------------------------------------


def refused(place: bucket_kit.GooglePlace) -> str:
    """Return what is said, having checked that nothing was touched."""
    before = {name: place.get_object(name) for name in place.objects()}
    with pytest.raises(errors.ConfigError) as caught:
        Publisher(place).publish(table(9))
    assert {name: place.get_object(name) for name in place.objects()} == before
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_objects_that_others_wrote_are_left_alone(google_place: bucket_kit.GooglePlace) -> None:
    google_place.put_table("t.parquet", table(1))
    assert "gs://lake/x/t.parquet is there and was not written by this program" in refused(
        google_place
    )
    google_place.put("t.parquet", b"no parquet")
    assert "is there and is no Parquet file" in refused(google_place)


@pytest.mark.parametrize("name", ["t/part-0.parquet", "t/_SUCCESS", "t/"])
def test_a_folder_in_the_place_is_refused(google_place: bucket_kit.GooglePlace, name: str) -> None:
    Publisher(google_place).publish(table(1))
    google_place.put(name, b"")
    assert "objects lie under gs://lake/x/t/, and a source could not tell them" in refused(
        google_place
    )


def test_a_table_of_another_format_in_the_place_is_refused(
    google_place: bucket_kit.GooglePlace,
) -> None:
    google_place.put("t.csv.gz", b"")
    assert "gs://lake/x/t.csv.gz is there, and a source could not tell it" in refused(google_place)


def test_a_missing_bucket(google_place: bucket_kit.GooglePlace) -> None:
    google_place.root = "gs://nowhere/x"
    with pytest.raises(errors.ConfigError, match="there is no bucket nowhere"):
        Publisher(google_place).publish(table(1))
    with pytest.raises(errors.ConfigError, match="there is no bucket nowhere"):
        google_place.opened()


def test_missing_rights_leave_nothing(google_place: bucket_kit.GooglePlace) -> None:
    words = "sa@x.iam.gserviceaccount.com does not have storage.objects.create access"
    google_place.server.fail(403, reason="forbidden", message=words, method="POST", times=9)
    with pytest.raises(errors.AccessError, match=r"storage\.objects\.create") as caught:
        Publisher(google_place).publish(table(1))
    assert caught.value.exit_code == 77
    assert google_place.names() == []


def test_what_an_object_cannot_do(google_place: bucket_kit.GooglePlace) -> None:
    one = Publisher(google_place)
    assert not one.target.capabilities.can_diff
    assert not one.target.capabilities.can_merge
    with pytest.raises(errors.ConfigError, match="takes `truncate` with `publish: swap` only"):
        one.target.create_staging("x", ["id"], pa.schema([]))
    with pytest.raises(errors.ConfigError, match="a files target has no indexes"):
        one.target.create(one.shadow, SCHEMA, [], [base.Index("i", ("s",))])
    with pytest.raises(errors.ConfigError, match="no object ends in /"):
        google_place.connection().open_target("x/")
    with pytest.raises(errors.ConfigError, match="leads out of the folder"):
        google_place.connection().open_target("../x")


# --- runs that meet ------------------------------------------------------------------------------


@contextlib.contextmanager
def short_leases(patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setattr(lease, "TTL_S", 0.4)
    patch.setattr(lease, "BEAT_S", 0.1)
    yield


def test_a_second_run_waits_and_gives_up(place: bucket_kit.Place) -> None:
    first, second = Publisher(place), Publisher(place)
    with first.target.lock("run-1", 0):
        assert len(place.names()) == 1
        with (
            pytest.raises(errors.LockBusyError, match="lake: t is locked by run run-1"),
            second.target.lock("run-2", 0.05),
        ):
            pass
        first.target.check_lock()
    with second.target.lock("run-2", 0), pytest.raises(errors.LockLostError):
        first.target.check_lock()
    assert place.names() == []


def test_one_object_has_one_lock_from_whatever_root(
    google_place: bucket_kit.GooglePlace,
) -> None:
    first = Publisher(google_place, "mart/t")
    google_place.root += "/mart"
    second = Publisher(google_place)
    with (
        first.target.lock("run-1", 0),
        pytest.raises(errors.LockBusyError, match="locked by run run-1"),
        second.target.lock("run-2", 0),
    ):
        pass


def test_a_run_that_slept_through_its_lock_cannot_publish(
    place: bucket_kit.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    Publisher(place).publish(table(1))
    asleep, newer = Publisher(place), Publisher(place)
    with contextlib.ExitStack() as stack:
        stack.enter_context(short_leases(monkeypatch))
        monkeypatch.setattr(lease.Lease, "_beat", lambda self: None)  # its thread sleeps too
        asleep = Publisher(place)
        stack.enter_context(asleep.target.lock("asleep", 0))
        asleep.prepare(table(2))
        asleep.target.check_lock()
        # Now it sleeps; the other waits until it counts as dead.
        newer = Publisher(place)
        with newer.target.lock("newer", 5):
            newer.prepare(table(3))
            with pytest.raises(errors.TemporaryError):
                asleep.target.swap(asleep.shadow, asleep.names)
            assert ids(place) == [1]
            newer.target.swap(newer.shadow, newer.names)
            newer.target.drop(newer.shadow)
        with pytest.raises(errors.TemporaryError):
            asleep.target.swap(asleep.shadow, asleep.names)
        with pytest.raises(errors.LockLostError):
            asleep.target.check_lock()
    assert ids(place) == [3]
    assert place.names() == ["t.parquet"]


@pytest.mark.parametrize("is_new", [True, False])
def test_an_object_that_others_publish_meanwhile_is_not_overwritten(
    place: bucket_kit.Place, is_new: bool
) -> None:
    if not is_new:
        Publisher(place).publish(table(1))
    one = Publisher(place)
    with one.target.lock("run", 0):
        one.prepare(table(2))
        place.put_table("t.parquet", table(7))
        with pytest.raises(errors.TemporaryError) as caught:
            one.target.swap(one.shadow, one.names)
        assert caught.value.exit_code == 75
        one.target.drop(one.shadow)
    assert ids(place) == [7]


def test_leftovers_of_dead_runs_are_swept(google_place: bucket_kit.GooglePlace) -> None:
    Publisher(google_place).publish(table(1))
    dead, other = Publisher(google_place), Publisher(google_place, "other")
    dead.stage(table(2))
    other.stage(table(3))
    one = Publisher(google_place)
    assert one.target.sweep(one.names) == [f"{dead.shadow}.parquet"]
    assert google_place.names() == sorted([f"{other.shadow}.parquet", "t.parquet"])
    assert ids(google_place) == [1]
    assert one.target.sweep(one.names) == []


def test_runs_at_once_publish_one_after_the_other(google_place: bucket_kit.GooglePlace) -> None:
    failed: list[Exception] = []

    def run(number: int) -> None:
        try:
            one = Publisher(google_place)
            with one.target.lock(one.names.run_id, 30):
                one.prepare(table(*range(number, number + 50)))
                one.target.check_lock()
                one.target.swap(one.shadow, one.names)
                one.target.drop(one.shadow)
            one.target.close()
        except Exception as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number * 100,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert google_place.names() == ["t.parquet"]
    found = ids(google_place)
    assert found == list(range(found[0], found[0] + 50))


def test_closing_gives_up_what_was_not_finished(google_place: bucket_kit.GooglePlace) -> None:
    one = Publisher(google_place)
    one.target.create(one.shadow, SCHEMA, [], [])
    noise = [f"{number * 104_729:0128x}" for number in range(150_000)]
    rows = pa.record_batch({"id": range(150_000), "s": noise, "j": ["1"] * 150_000}, SCHEMA)
    one.target.load(one.shadow, base.Batch(rows, None, 0), [])
    one.target.close()
    one.target.close()
    assert google_place.names() == []
    assert google_place.server.sessions == {}
