"""Versions in a registry: listed, resolved, never overwritten, removed; against a real registry."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.package import image_kit, registry_kit
from tmg_etl import errors
from tmg_etl.launch import registry, release, version

VERSIONS = ("0.9.0", "0.10.0", "1.0.0rc1", "1.0.0")


@pytest.fixture(scope="module")
def place(
    builder: image_kit.Builder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[registry.Repository]:
    """An image in a registry, in four versions and under a name that is no version."""
    folder = tmp_path_factory.mktemp("registry")
    with registry_kit.registry(folder) as host:
        repository = registry.Repository(host, "sid/sidpublisherjob")
        for number in (*VERSIONS, "latest"):
            (folder / "content").write_text(number)
            recipe = folder / "Dockerfile"
            recipe.write_text("FROM scratch\nCOPY content /\n")
            name = f"{repository}:{number}"
            with builder.locked():
                builder.buildah("build", "--layers=false", "--tag", name, folder)
                builder.buildah("push", "--tls-verify=false", name)
                builder.buildah("rmi", name)
        yield repository


def test_versions_are_listed_newest_first(place: registry.Repository) -> None:
    assert place.versions() == ["1.0.0", "1.0.0rc1", "0.10.0", "0.9.0"]


def test_a_version_has_a_digest(place: registry.Repository) -> None:
    pinned = place.resolve("0.10.0")
    assert pinned.startswith(f"{place}@sha256:")
    assert pinned != place.resolve("1.0.0")


def test_a_version_that_is_not_there_is_named_with_those_that_are(
    place: registry.Repository,
) -> None:
    with pytest.raises(registry.VersionNotFoundError) as caught:
        place.resolve("2.0.0")
    assert str(caught.value) == (
        f"version 2.0.0 is not in {place}; versions there: 1.0.0, 1.0.0rc1, 0.10.0, 0.9.0"
    )
    assert caught.value.exit_code == errors.EXIT_USAGE


def test_an_image_that_was_never_pushed_has_no_version(place: registry.Repository) -> None:
    nothing = registry.Repository(place.host, "sid/never")
    assert nothing.versions() == []
    with pytest.raises(registry.VersionNotFoundError, match="versions there: none"):
        nothing.resolve("1.0.0")


def test_a_registry_that_is_away_is_a_temporary_error() -> None:
    away = registry.Repository(f"127.0.0.1:{registry_kit.free_port()}", "sid/sidpublisherjob")
    with pytest.raises(errors.TemporaryError, match="cannot be reached"):
        away.versions()


def test_a_removed_version_is_gone_and_the_others_stay(
    place: registry.Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    place.delete("0.9.0", dry_run=True)
    assert capsys.readouterr().out.startswith(f"curl -X DELETE http://{place.host}/v2/")
    assert "0.9.0" in place.versions()
    place.delete("0.9.0")
    assert place.digest("0.9.0") is None
    assert place.digest("1.0.0") is not None


def test_the_newest_stay_and_what_runs() -> None:
    known = {f"1.{minor}.0": f"sha256:{minor}" for minor in range(9, 0, -1)}
    used = {"host/sid/job@sha256:2", "host/sid/job:1.1.0", "other@sha256:99"}
    assert release.doomed(known, used, 5) == ["1.4.0", "1.3.0"]
    assert release.doomed(known, set(), 9) == []
    assert release.doomed({}, set(), 5) == []


def test_versions_are_ordered_as_numbers() -> None:
    shuffled = ["1.0.0", "0.9.0", "1.0.0rc2", "0.10.0", "1.0.0rc10", "1.0.0a1"]
    expected = ["0.9.0", "0.10.0", "1.0.0a1", "1.0.0rc2", "1.0.0rc10", "1.0.0"]
    assert sorted(shuffled, key=version.order) == expected
    assert not version.is_version("latest")
    assert not version.is_version("1.0")


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_nothing_is_refused(tmp_path: pathlib.Path, keep: int) -> None:
    with pytest.raises(errors.UsageError, match="keep one version or more"):
        release.prune(tmp_path, "dev", keep)
