"""A plan names what a run would stumble over: rights, locks of others."""

from __future__ import annotations

import os
import pathlib
import urllib.parse

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl.connectors.mysql import readiness
from tmg_etl.testing import servers

COLUMNS = "id bigint PRIMARY KEY, day date, version bigint, amount double, name text, gone bigint"
SWAP = "key: [id]\n    publish: swap"
UPSERT = "key: [id]\n    delta: {cursor: day}"


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, server: place_module.Server, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A published table on each server."""
    made = plan_kit.Shop(tmp_path / "shop", server, empty_ledger)
    made.declare(SWAP)
    made.fill([row(1), row(2)])
    made.publish()
    return made


def as_user(shop: plan_kit.Shop, more: str, *rights: str) -> None:
    """Declare the transfer for a new user with few rights."""
    server = shop.place
    assert isinstance(server, place_module.Server)
    url = server.user(*rights)
    shop.declare(more, f"{{type: {server.kind}, url: '{url}'}}")


GRANTS = {
    "postgres": ("GRANT SELECT, INSERT ON facts TO {user}",),
    "mysql": ("GRANT SELECT, INSERT, TRIGGER ON * TO {user}",),
}
CREATE = {
    "postgres": ("GRANT CREATE ON SCHEMA public TO {user}",),
    "mysql": ("GRANT CREATE, DROP, ALTER, CREATE TEMPORARY TABLES ON * TO {user}",),
}
CHANGE = {
    "postgres": ("GRANT UPDATE, DELETE ON facts TO {user}",),
    "mysql": ("GRANT UPDATE, DELETE ON facts TO {user}",),
}


def test_missing_rights_are_named_and_are_what_the_run_lacks(shop: plan_kit.Shop) -> None:
    kind = shop.place.kind
    as_user(shop, UPSERT, *GRANTS[kind])
    plan = shop.plan("delta")
    named = " ".join(plan.privileges_missing)
    for right in ("CREATE", "UPDATE", "DELETE"):
        assert right in named
    assert "INSERT" not in named
    outcome = shop.run("delta")
    assert outcome.exit_code == 77

    as_user(shop, UPSERT, *GRANTS[kind], *CREATE[kind], *CHANGE[kind])
    plan = shop.plan("delta")
    assert (plan.privileges_missing, plan.rows_exact) == ((), True)
    shop.publish("delta")


def test_without_temporary_tables_rows_are_not_computed(shop: plan_kit.Shop) -> None:
    kind = shop.place.kind
    if kind == "postgres":
        database = urllib.parse.urlsplit(shop.place.url).path[1:]
        shop.place.sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    as_user(shop, UPSERT, *GRANTS[kind])
    plan = shop.plan("delta")
    assert (plan.rows_exact, plan.rows.insert) == (False, None)
    assert "no temporary table" in str(plan.rows_reason)


def test_a_swap_that_needs_the_owner(shop: plan_kit.Shop) -> None:
    if shop.place.kind != "postgres":
        as_user(shop, SWAP, *GRANTS["mysql"], "GRANT CREATE, DROP ON * TO {user}")
        assert shop.plan().privileges_missing == (
            f"ALTER on database {urllib.parse.urlsplit(shop.place.url).path[1:]}",
        )
        return
    as_user(shop, "key: [id]", *GRANTS["postgres"], *CREATE["postgres"], *CHANGE["postgres"])
    # `auto` turns to a diff, which needs no ownership.
    assert (shop.plan().publish, shop.plan().privileges_missing) == ("diff", ())


def test_a_transaction_in_the_way_is_named(
    shop: plan_kit.Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_mariadb = shop.place.kind == "mysql" and "MariaDB" in str(shop.place.sql("SELECT VERSION()"))
    if shop.place.kind == "mysql" and not is_mariadb:
        # Locks are switched off in the tests' server, which takes half the memory so.
        with (
            monkeypatch.context() as patch,
            shop.place.transaction("SELECT * FROM facts") as number,
        ):
            patch.setattr(readiness, "_LONG_S", -1)
            (found,) = shop.plan().in_the_way
            assert f"connection {number} of " in found
        settings = {"performance-schema": "ON"}
        with servers.MySQLServer(settings=settings) as watching:
            place = place_module.MySQL(watching.create_database("watched"))
            place.sql(f"CREATE TABLE facts ({COLUMNS})")
            shop.place = place
            shop.declare(SWAP)
            require_named(shop)
        return
    if is_mariadb:
        shop.place.sql("INSTALL SONAME 'metadata_lock_info'")
    try:
        require_named(shop)
    finally:
        if is_mariadb:
            shop.place.sql("UNINSTALL SONAME 'metadata_lock_info'")


def require_named(shop: plan_kit.Shop) -> None:
    """Fail unless a plan names the connection that reads the table."""
    assert shop.plan().in_the_way == ()
    with shop.place.transaction("SELECT * FROM facts") as number:
        (found,) = shop.plan().in_the_way
    assert str(number) in found
    assert "facts" in found
    if shop.place.kind == "postgres":
        assert "sleepy form" in found


def test_a_dump_that_a_swap_would_break_is_named(shop: plan_kit.Shop) -> None:
    """MySQL and MariaDB: a snapshot knows nothing of a table that was made after it."""
    if shop.place.kind != "mysql":
        return
    told = "error 1412"
    assert told not in "".join(shop.plan().warnings)
    with shop.place.transaction("START TRANSACTION WITH CONSISTENT SNAPSHOT") as number:
        (warning,) = [text for text in shop.plan().warnings if told in text]
        assert f"connection {number} of root" in warning
        assert "`publish: diff` does not" in warning
        shop.declare("key: [id]\n    publish: diff")
        assert told not in "".join(shop.plan().warnings)


def test_who_may_not_see_locks_is_told_so(shop: plan_kit.Shop) -> None:
    kind = shop.place.kind
    as_user(shop, UPSERT, *GRANTS[kind], *CREATE[kind], *CHANGE[kind])
    unknown = [warning for warning in shop.plan("delta").warnings if "not known" in warning]
    assert bool(unknown) is (kind == "mysql")


def test_local_infile_off_is_said(shop: plan_kit.Shop) -> None:
    if shop.place.kind != "mysql":
        assert shop.plan().ingest == "Arrow batches" or "COPY" in shop.plan().ingest
        return
    shop.place.sql("SET GLOBAL local_infile = 0")
    try:
        assert shop.plan().ingest == "INSERT, because local_infile is off"
    finally:
        shop.place.sql("SET GLOBAL local_infile = 1")


@pytest.mark.parametrize(
    ("lines", "right", "table", "expected"),
    [
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"], "DROP", None, True),
        (["GRANT SELECT, INSERT ON `s\\_d`.* TO `u`@`%`"], "INSERT", None, True),
        (["GRANT SELECT, INSERT ON `sxd`.* TO `u`@`%`"], "INSERT", None, False),
        (["GRANT SELECT ON `s%`.* TO `u`@`%`"], "SELECT", None, True),
        (["GRANT SELECT ON `s_d`.`t` TO `u`@`%`"], "SELECT", None, False),
        (["GRANT SELECT ON `s_d`.`t` TO `u`@`%`"], "SELECT", "t", True),
        (["GRANT INSERT (`a`), UPDATE (`a`, `b`) ON `s_d`.`t` TO `u`@`%`"], "UPDATE", "t", False),
        (["GRANT UPDATE (`a`), DELETE ON `s_d`.`t` TO `u`@`%`"], "DELETE", "t", True),
        (["GRANT CREATE TEMPORARY TABLES ON `s_d`.* TO `u`@`%`"], "CREATE", None, False),
        (
            ["GRANT DROP ON *.* TO `u`@`%`", "REVOKE DROP ON `s_d`.* FROM `u`@`%`"],
            "DROP",
            None,
            False,
        ),
        (["GRANT `role` TO `u`@`%`"], "SELECT", None, False),
        (["GRANT PROXY ON ''@'%' TO 'root'@'localhost'"], "SELECT", None, False),
    ],
)
def test_grants_of_mysql(lines: list[str], right: str, table: str | None, expected: bool) -> None:
    assert readiness.is_granted(lines, right, "s_d", table) is expected


def test_a_file_that_may_not_be_written(tmp_path: pathlib.Path, empty_ledger: pathlib.Path) -> None:
    place = place_module.SQLite(tmp_path)
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    shop.declare(SWAP)
    shop.fill([row(1)])
    place.path.chmod(0o444)
    plan = shop.plan()
    if os.access(place.path, os.W_OK):  # the superuser may write everything
        assert plan.privileges_missing == ()
    else:
        assert plan.privileges_missing == (f"write permission on {place.path}",)
