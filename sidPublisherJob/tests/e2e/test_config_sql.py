"""Wrong SQL and a missing class are named with their place in the config."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e import place as place_module
from tests.e2e import plan_kit
from tests.e2e.plan_kit import row
from tmg_etl import errors, run
from tmg_etl.config import loader
from tmg_etl.transfer import runner


@pytest.fixture
def shop(
    tmp_path: pathlib.Path, place: place_module.Place, empty_ledger: pathlib.Path
) -> plan_kit.Shop:
    """A lake and each kind of target in turn."""
    return plan_kit.Shop(tmp_path / "shop", place, empty_ledger)


def line_of(shop: plan_kit.Shop, word: str) -> str:
    """The place of the one line with a word, as ``file:line``."""
    path = shop.folder / "config.yaml"
    (number,) = [
        number
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.strip().startswith(f"{word}:")
    ]
    return f"{path}:{number}"


@pytest.mark.parametrize("wrong", ["gon = 1", "gone = 1 an"])
def test_deleted(shop: plan_kit.Shop, wrong: str) -> None:
    shop.declare(f'key: [id]\n    delta:\n      cursor: day\n      deleted: "{wrong}"')
    shop.fill([row(1)])
    where = f"{line_of(shop, 'deleted')}:transfers.facts.delta.deleted: "
    error = shop.run("delta").error
    assert isinstance(error, errors.ConfigError)
    assert str(error).startswith(where)
    for look in (shop.plan, shop.verify):
        with pytest.raises(errors.ConfigError) as caught:
            look("delta")
        assert str(caught.value).startswith(where)
        assert "; correct the SQL" in str(caught.value) or caught.value.hint


def test_query(shop: plan_kit.Shop) -> None:
    path = shop.folder / "config.yaml"
    path.write_text(
        f"connections:\n  serving: {shop.place.connection}\n"
        f'ledger: "sqlite:///{shop.folder}/ledger.db"\n'
        "transfers:\n  facts:\n    source:\n      connection: serving\n"
        "      query: SELECT nothing FROM t\n"
        "    target: {connection: serving, table: facts}\n"
    )
    facts = {
        "execution_date": plan_kit.DAY,
        "delta_start_date": None,
        "write_mode": run.WriteMode.TRUNCATE,
    }
    error = runner.build(loader.load(str(path)), "facts", **facts).execute().error
    assert isinstance(error, errors.ConfigError)
    assert str(error).startswith(f"{line_of(shop, 'query')}:transfers.facts.source.query: ")
    assert "nothing" in str(error)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("hand_written:OneStatment", ["module 'hand_written'", "'OneStatment'", "'OneStatement'?"]),
        ("hand_written:Zzz", ["no class 'Zzz'", "its pipelines are DeleteAndInsert, OneStatement"]),
        ("hand_written.more:One", ["hand_written.more", "install its package"]),
    ],
)
def test_class(
    tmp_path: pathlib.Path,
    empty_ledger: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    words: list[str],
) -> None:
    pipelines = pathlib.Path(__file__).parents[1] / "testing" / "pipelines"
    monkeypatch.syspath_prepend(str(pipelines))
    shop = plan_kit.Shop(tmp_path / "shop", place_module.SQLite(tmp_path), empty_ledger)
    shop.declare(f"pipeline: {named}\npackages: [hand_written]")
    with pytest.raises(errors.ConfigError) as caught:
        shop.run()
    said = str(caught.value)
    assert said.startswith(f"{line_of(shop, 'pipeline')}:transfers.facts.pipeline: ")
    for word in words:
        assert word in said
