"""References in values: variables, defaults, secrets, dollars; and that they stay values."""

import pytest

from tmg_etl import errors
from tmg_etl.config import loader

NASTY = "p\"w'\n# x: {[*&!%@/:?"


def describe(load, value, environ=None):
    """Load a config whose one free text is `value`, and return what it became."""
    text = (
        "connections: {a: {type: files, url: .}}\n"
        "transfers:\n"
        "  t:\n"
        "    source: {connection: a, table: t}\n"
        "    target: {connection: a, table: t}\n"
        f"    description: '{value}'\n"
    )
    return load(text, environ=environ).transfer("t").description


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${A}", "1"),
        ("a${A}b${A}", "a1b1"),
        ("${A:-x}", "1"),
        ("${NONE:-x}", "x"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-${A}}", "1"),
        ("${NONE:-${EMPTY:-a}b${A}}c", "ab1c"),
        ("${NONE:-a}}", "a}"),
        ("${NONE:-$${A}}", "${A}".replace("}", "") + "}"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$1"),
        ("$A $ a$", "$A $ a$"),
        ("} {execution_date}", "} {execution_date}"),
        ("${DOLLAR}", "${A}"),
    ],
)
def test_references(load, value, expected):
    environ = {"A": "1", "EMPTY": "", "DOLLAR": "${A}"}
    assert describe(load, value, environ) == expected


@pytest.mark.parametrize(
    "value",
    [
        "${",
        "${A",
        "${}",
        "${ A}",
        "${A }",
        "${A-x}",
        "${A:x}",
        "${1}",
        "${A:-${B}",
        "${secret:}",
        "${secret:.x}",
        "${secret:a/b}",
        "${a.b}",
    ],
)
def test_bad_references(load, value):
    with pytest.raises(errors.ConfigError, match=r"config.yaml:6:transfers.t.description"):
        describe(load, value, {"A": "1"})


def test_too_many_defaults_inside_each_other(load):
    with pytest.raises(errors.ConfigError, match="more than 40 defaults inside each other"):
        describe(load, "${A:-" * 5000 + "}" * 5000)


def test_values_cannot_change_the_structure(load):
    assert describe(load, "${A}", {"A": NASTY}) == NASTY
    assert describe(load, "${A}", {"A": "x\n    key: [evil]"}) == "x\n    key: [evil]"


def test_keys_are_not_resolved(load):
    with pytest.raises(errors.ConfigError, match="unknown key"):
        load("${A}: {}\n", environ={"A": "transfers"})


def test_numbers_and_words_from_variables(load, base):
    text = base + "    batch_rows: ${ROWS}\n    verify: ${VERIFY:-off}\n    lock_wait_s: ${WAIT}\n"
    transfer = load(text, environ={"ROWS": "10", "WAIT": "0.5"}).transfer("dim_plane")
    assert (transfer.batch_rows, transfer.verify, transfer.lock_wait_s) == (10, "off", 0.5)
    with pytest.raises(errors.ConfigError, match="found 'many', expected a whole number"):
        load(text, environ={"ROWS": "many", "WAIT": "1"})


def test_password_in_a_url_may_hold_any_character(load):
    import sqlalchemy

    text = 'connections: {db: {type: mysql, url: "mysql://${DB_USER}:${DB_PASSWORD}@h:3306/d"}}\n'
    config = load(text, environ={"DB_USER": "a@b", "DB_PASSWORD": NASTY + "%41"})
    url = sqlalchemy.make_url(config.connections["db"].url)
    assert (url.username, url.password, url.host) == ("a@b", NASTY + "%41", "h")


def test_parts_of_a_url_outside_the_password_are_taken_as_they_are(load):
    text = 'connections: {db: {type: mysql, url: "${URL}/${DB}?charset=utf8"}}\n'
    environ = {"URL": "mysql://u:p%40@h", "DB": "a/b"}
    assert load(text, environ=environ).connections["db"].url == "mysql://u:p%40@h/a/b?charset=utf8"


# --- secrets


@pytest.fixture
def secrets(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "db-password.txt").write_bytes(b"geheim\n")
    (folder / "lines").write_bytes(b"a\nb\n\n")
    (folder / "windows").write_bytes(b"geheim\r\n")
    (folder / "binary").write_bytes(b"\xff")
    (folder / "large").write_bytes(b"x" * 70_000)
    (folder / "folder").mkdir()
    return {"TMG_ETL_SECRETS_DIR": str(folder)}


def test_secret_from_a_mounted_file(load, secrets):
    assert describe(load, "${secret:db-password.txt}", secrets) == "geheim"
    assert describe(load, "${secret:windows}", secrets) == "geheim"
    assert describe(load, "${secret:lines}", secrets) == "a\nb\n"


def test_secret_with_default(load, secrets):
    assert describe(load, "${secret:none:-local}", secrets) == "local"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "found no file .*/secrets/none for the secret none; mount the secret"),
        ("folder", "cannot be read: Is a directory"),
        ("binary", "not UTF-8"),
        ("large", "more than 65536 bytes"),
    ],
)
def test_secret_that_cannot_be_read(load, secrets, name, message):
    with pytest.raises(errors.ConfigError, match=message):
        describe(load, f"${{secret:{name}}}", secrets)


def test_secret_in_the_default_folder(load):
    with pytest.raises(
        errors.ConfigError, match=r"/var/run/secrets/tmg_etl/none .*TMG_ETL_SECRETS_DIR"
    ):
        describe(load, "${secret:none}")


def test_process_variables_are_the_default(load, base, monkeypatch):
    load(base + "    description: ${TMG_TEST:-x}\n")
    monkeypatch.setenv("TMG_TEST", "from the process")
    assert loader.load("config.yaml").transfer("dim_plane").description == "from the process"
