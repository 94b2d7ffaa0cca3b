"""Several sessions that load one table: every row once, and each refused row by its name."""

import threading
from collections.abc import Sequence

import pytest

from tests.connectors import mysql_kit
from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.connectors.mysql import lane
from tmg_etl.connectors.mysql import target as target_module
from tmg_etl.transfer import encode, flow

BATCH_ROWS = 30_000
SHADOW = mysql_kit.NAMES.table("shadow", "t")


def load(
    target: target_module.MySQLTarget, ids: Sequence[int], values: Sequence[str | None]
) -> base.Fingerprint:
    """Load rows as a transfer does, from as many threads as the target takes."""
    table = mysql_kit.keyed(list(ids), list(values))
    encoder = encode.Encoder(table.schema, target.capabilities.text, hashes=True)
    batches, first_row = [], 0
    for rows in table.to_batches(max_chunksize=BATCH_ROWS):
        batches.append(base.Batch(rows, encoder.encode(rows), first_row))
        first_row += rows.num_rows
    taken = flow.spread(
        lambda batch: target.load(SHADOW, batch, ["id"]), batches, target.lanes(SHADOW)
    )
    assert sum(rows for _, rows in taken) == first_row
    return encoder.fingerprint


@pytest.fixture
def place(either_url: str) -> str:
    mysql_kit.run_sql(
        either_url,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(20) CHECK (v <> 'bad'), UNIQUE KEY u (v))",
    )
    return either_url


def test_large_tables_are_loaded_by_two_sessions_and_proved_in_halves(place: str) -> None:
    ids = range(1, 200_001)
    with mysql_kit.opened(place) as target:
        target.create_shadow(SHADOW, [])
        sent = load(target, ids, [str(number) for number in ids])
        sessions = mysql_kit.run_sql(
            place, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()"
        )
        target.finish_load(SHADOW, ["id"])
        held = target.fingerprint(SHADOW, ["id", "v"], base.Selection(), hashes=True)
        assert held == sent
        # This connection, and one for each lane.
        assert sessions[0][0] == 1 + lane.LIMIT
        # One cell of either half is seen.
        for number in (1, 200_000):
            mysql_kit.run_sql(place, f"UPDATE `{SHADOW}` SET v = 'other' WHERE id = {number}")
            assert target.fingerprint(SHADOW, ["id", "v"], base.Selection(), hashes=True) != sent
            mysql_kit.run_sql(place, f"UPDATE `{SHADOW}` SET v = {number} WHERE id = {number}")
        # Neither is one that is missing or more.
        mysql_kit.run_sql(place, f"DELETE FROM `{SHADOW}` WHERE id = 100000")
        counted = target.fingerprint(SHADOW, ["id", "v"], base.Selection(), hashes=True)
        assert counted.rows == len(ids) - 1
        target.drop(SHADOW)


def test_a_key_in_two_lanes_at_once_is_named(place: str) -> None:
    """The lanes meet in both indexes, each holding what the other one waits for."""
    ids = [*range(60_000), *range(60_000, 90_000), *range(89_999, 59_999, -1)]
    values = [str(number) if place < 90_000 else f"x{number}" for place, number in enumerate(ids)]
    with mysql_kit.opened(place) as target:
        target.create_shadow(SHADOW, [])
        with pytest.raises(errors.DuplicateKeyError, match=r"id='[678]\d{4}'"):
            load(target, ids, values)
        target.drop(SHADOW)


def test_a_row_that_breaks_a_check_is_found_while_others_load(place: str) -> None:
    ids = range(200_000)
    values = ["bad" if number == 130_017 else str(number) for number in ids]
    with mysql_kit.opened(place) as target:
        target.create_shadow(SHADOW, [])
        with pytest.raises(errors.ValueRejectedError, match="130017"):
            load(target, ids, values)
        target.drop(SHADOW)


def test_a_server_without_a_connection_to_spare_gets_one_session(place: str) -> None:
    mysql_kit.run_sql(place, "CREATE USER IF NOT EXISTS few@'%' IDENTIFIED BY 'few'")
    mysql_kit.run_sql(
        place, "GRANT ALL ON *.* TO few@'%'", "ALTER USER few@'%' WITH MAX_USER_CONNECTIONS 1"
    )
    head, _, tail = place.partition("://")
    few = f"{head}://few:few@{tail.rpartition('@')[2]}"
    ids = range(200_000)
    try:
        with mysql_kit.opened(few) as target:
            target.create_shadow(SHADOW, [])
            sent = load(target, ids, [str(number) for number in ids])
            held = target.fingerprint(SHADOW, ["id", "v"], base.Selection(), hashes=True)
            assert held == sent
            target.drop(SHADOW)
    finally:
        mysql_kit.run_sql(place, "DROP USER few@'%'")


def test_who_wants_to_be_alone_waits_for_the_others(place: str) -> None:
    with mysql_kit.opened(place) as target:
        lanes = lane.Lanes(target._session)
        seen: list[str] = []
        started, finish = threading.Event(), threading.Event()

        def other() -> None:
            with lanes.one():
                started.set()
                finish.wait(10)
                seen.append("other")

        with lanes.one():
            thread = threading.Thread(target=other)
            thread.start()
            assert started.wait(10)
            threading.Timer(0.1, finish.set).start()
            with lanes.alone():
                seen.append("alone")
            thread.join()
        lanes.close()
        assert seen == ["other", "alone"]


def test_who_is_alone_may_ask_for_it_again(place: str) -> None:
    """A load that is repeated alone may have to look for a row that breaks a check."""
    with mysql_kit.opened(place) as target:
        lanes = lane.Lanes(target._session)
        seen: list[str] = []

        def enter() -> None:
            with lanes.one(), lanes.alone():
                with lanes.alone():
                    seen.append("inside")
                assert lanes._is_exclusive

        thread = threading.Thread(target=enter, daemon=True)
        thread.start()
        thread.join(10)
        assert seen == ["inside"]
        with lanes.one():
            seen.append("after")
        assert not thread.is_alive()


def test_two_that_want_to_be_alone_take_turns(place: str) -> None:
    with mysql_kit.opened(place) as target:
        lanes = lane.Lanes(target._session)
        inside, together = 0, threading.Barrier(2)

        def enter() -> None:
            nonlocal inside
            with lanes.one():
                together.wait(10)
                with lanes.alone():
                    inside += 1
                    assert inside == 1
                    inside -= 1

        threads = [threading.Thread(target=enter) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        lanes.close()
