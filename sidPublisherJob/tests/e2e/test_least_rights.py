"""A user with the rights that docs/security.md names, and no others, can do all that a job does."""

from __future__ import annotations

import pathlib
import re
import secrets
import urllib.parse

import pytest

from tests.e2e import group_kit, plan_kit
from tests.e2e import place as place_module
from tests.e2e.plan_kit import row

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "security.md"
UPSERT = "keep_previous: 24h\n    delta: {cursor: day, order_by: [version]}"


@pytest.fixture(params=["postgres", "mariadb", "mysql"])
def place(request: pytest.FixtureRequest) -> place_module.Server:
    """An empty database of each server, for a user that was made as the page says."""
    url = urllib.parse.urlsplit(request.getfixturevalue(f"{request.param}_url"))
    kind = place_module.Postgres if request.param == "postgres" else place_module.MySQL
    administrator = kind(url.geturl())
    title = "PostgreSQL" if request.param == "postgres" else "MySQL and MariaDB"
    _, _, named = PAGE.read_text().partition("## Give the job a user of its own")
    statements = named.partition(f"**{title}**")[2].split("```sql\n")[1].split("```")[0]
    user = f"sid_{secrets.token_hex(4)}"
    for one in statements.split(";")[:-1]:
        one = re.sub(r"\bsid\b", user, one).replace("serving.*", f"{url.path[1:]}.*")
        administrator.sql(one)
    administrator.sql("DROP TABLE t")
    return kind(administrator.with_user(user, "s3cret"))


@pytest.mark.parametrize("publish", ["swap", "diff"])
def test_a_table_is_published_every_way(
    place: place_module.Server, tmp_path: pathlib.Path, empty_ledger: pathlib.Path, publish: str
) -> None:
    shop = plan_kit.Shop(tmp_path / "shop", place, empty_ledger)
    shop.declare(f"key: [id]\n    publish: {publish}\n    delta: {{cursor: day}}")
    shop.fill([row(1), row(2)])
    for mode in ("truncate", "truncate", "delta"):
        shop.publish(mode)
        assert shop.verify().is_equal
        shop.fill([row(1, name="new"), row(3)])
    plan = shop.plan("delta")
    assert (plan.privileges_missing, plan.rows_exact) == ((), True)


def test_a_group_is_published_and_put_back(
    place: place_module.Server, tmp_path: pathlib.Path, empty_ledger: pathlib.Path
) -> None:
    shop = group_kit.Shop(tmp_path / "shop", place, empty_ledger)
    shop.declare(facts=UPSERT, dims=UPSERT)
    for facts, dims in (([row(1)], [row(2)]), ([row(3)], [row(4)])):
        shop.fill(facts=facts, dims=dims)
        shop.publish()
    assert shop.call("rollback") == 0
    assert shop.both() == ([1], [2])
    shop.publish("delta")
    assert shop.both() == ([1, 3], [2, 4])
