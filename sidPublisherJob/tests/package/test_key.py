"""Keys come from a bucket, are readable by their owner alone, and go no further."""

from __future__ import annotations

import pathlib
import re
import stat
from collections.abc import Iterator

import pytest
import yaml

from tests.package import conftest, image_kit, registry_kit
from tmg_etl import errors
from tmg_etl.launch import bucket, key

KEY_MATERIAL = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{6}"
    rb'|"type"\s*:\s*"service_account"'
    rb"|\bAIza[0-9A-Za-z_-]{35}\b|\bAKIA[0-9A-Z]{16}\b|\bya29\.[0-9A-Za-z_-]{20}"
)


@pytest.fixture
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A repository whose dev environment has a bucket of keys."""
    places = {
        "local": {"registry": "host/sid", "config": "c.yaml"},
        "dev": {
            "registry": "host/sid",
            "config": "c.yaml",
            "buckets": {"keys": "gs://acme-keys/sid"},
        },
    }
    (tmp_path / "gke_deploy").mkdir()
    file = tmp_path / "gke_deploy" / "environments.yaml"
    file.write_text(yaml.safe_dump({"image": "job", "environments": places}))
    (tmp_path / key.FOLDER).mkdir()
    with registry_kit.storage(monkeypatch, "acme-keys"):
        yield tmp_path


def ask_for(root: pathlib.Path, *lines: str) -> None:
    (root / key.LIST).write_text("\n".join(lines))


def test_keys_are_fetched_for_their_owner_alone(root: pathlib.Path) -> None:
    bucket.write_new("gs://acme-keys/sid/a.json", b"first")
    bucket.write_new("gs://acme-keys/sid/b.pem", b"second")
    ask_for(root, "# what is needed", "a.json", "", "  b.pem  ", "a.json")
    files = key.download(root, "dev")
    assert [file.name for file in files] == ["a.json", "b.pem"]
    assert files[0].read_bytes() == b"first"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_key_is_renewed_and_keeps_nobody_s_rights(root: pathlib.Path) -> None:
    bucket.write_new("gs://acme-keys/sid/a.json", b"new")
    old = root / key.FOLDER / "a.json"
    old.write_bytes(b"old")
    old.chmod(0o644)
    ask_for(root, "a.json")
    key.download(root, "dev")
    assert old.read_bytes() == b"new"
    assert stat.S_IMODE(old.stat().st_mode) == 0o600


def test_a_missing_key_stops_before_the_first_is_written(root: pathlib.Path) -> None:
    bucket.write_new("gs://acme-keys/sid/a.json", b"first")
    ask_for(root, "a.json", "b.json")
    with pytest.raises(errors.ConfigError, match=r"there is no object gs://acme-keys/sid/b.json"):
        key.download(root, "dev")
    assert [file.name for file in (root / key.FOLDER).iterdir()] == ["download_list.txt"]


def test_a_bucket_that_is_away_is_a_temporary_error(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{registry_kit.free_port()}")
    monkeypatch.setattr(bucket, "_RETRY_S", 1)
    ask_for(root, "a.json")
    with pytest.raises(errors.TemporaryError, match="gs://acme-keys/sid/a.json"):
        key.download(root, "dev")


@pytest.mark.parametrize("name", ["../a.json", "folder/a.json", "README.md", ".gitignore", "a\\b"])
def test_only_plain_names_are_taken(root: pathlib.Path, name: str) -> None:
    ask_for(root, "fine.json", name)
    with pytest.raises(errors.ConfigError, match=r"download_list.txt:2: "):
        key.download(root, "dev")


def test_an_environment_without_keys_says_so(root: pathlib.Path) -> None:
    ask_for(root, "a.json")
    with pytest.raises(errors.ConfigError, match="local has no bucket of keys"):
        key.download(root)
    ask_for(root, "# none")
    assert key.download(root) == []


def test_a_dry_run_fetches_nothing(root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask_for(root, "a.json")
    assert key.download(root, "dev", dry_run=True) == []
    assert capsys.readouterr().out == (
        "gcloud storage cp gs://acme-keys/sid/a.json keyscredentials/a.json\n"
    )


# --- never in git


def test_git_takes_no_key(tmp_path: pathlib.Path) -> None:
    """Adds everything there is to a repository with our rules."""
    image_kit.copy_of_checkout(tmp_path)
    folder = tmp_path / key.FOLDER
    known = {file.name for file in folder.iterdir()}
    for name in ("sid.json", "sid.p12", "id_rsa", "server.pem", "password", ".a.json.part"):
        (folder / name).write_text(conftest.PRIVATE_KEY)
    git = ["git", "-C", str(tmp_path)]
    image_kit.call([*git, "init", "--quiet"])
    image_kit.call([*git, "add", "--all"])
    taken = image_kit.call([*git, "ls-files", str(key.FOLDER)]).split()
    assert {pathlib.PurePath(name).name for name in taken} == known
    assert known == {".gitignore", "README.md", "download_list.txt"}


def test_no_file_of_this_repository_holds_a_key() -> None:
    listed = image_kit.call(["git", "-C", str(image_kit.ROOT), "ls-files", "-co", "-z",
                             "--exclude-standard"])  # fmt: skip
    scanned = 0
    for name in filter(None, listed.split("\0")):
        file = image_kit.ROOT / name
        if file.is_file():
            found = KEY_MATERIAL.search(file.read_bytes())
            assert not found, f"{name} holds {found and found[0]!r}"
            scanned += 1
    assert scanned > 100


def test_the_scan_finds_what_it_looks_for() -> None:
    assert KEY_MATERIAL.search(conftest.PRIVATE_KEY.encode())
    assert KEY_MATERIAL.search(conftest.SERVICE_ACCOUNT.encode())
