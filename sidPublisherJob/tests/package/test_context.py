"""What a build may see: little, and nothing that is secret."""

from __future__ import annotations

import os
import pathlib
import re

from tests.package import conftest, image_kit

ALLOWED = ("sidPublisherJob/tmg_etl/", "sidPublisherJob/sid_dim_agent/")
FILES = {
    "script/uv.py",
    "sidPublisherJob/pyproject.toml",
    "sidPublisherJob/setup.py",
    "sidPublisherJob/installer-requirements.txt",
    "sidPublisherJob/requirements.txt",
    "sidPublisherJob/build-requirements.txt",
}


def test_a_build_sees_the_packages_and_what_installs_them(
    builder: image_kit.Builder, poisoned: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Lets the builder copy all that it sees."""
    recipe = tmp_path / "Dockerfile"
    recipe.write_text("FROM scratch\nCOPY . /\n")
    tag = "localhost/sid-test-context"
    with builder.locked():
        builder.buildah("build", "--layers=false", "--file", recipe, "--tag", tag, poisoned)
        container, root = builder.mount(tag)
        seen = {
            str(pathlib.Path(folder, name).relative_to(root))
            for folder, _, names in os.walk(root)
            for name in names
        }
        builder.remove(container)
        builder.buildah("rmi", tag)
    assert seen >= FILES
    assert "sidPublisherJob/tmg_etl/cli/pipeline.py" in seen
    assert not {name for name in seen - FILES if not name.startswith(ALLOWED)}
    assert not seen & conftest.POISON.keys()


def test_the_base_is_pinned_by_its_digest() -> None:
    recipe = (image_kit.ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+/python:\S+@sha256:[0-9a-f]{64}$", recipe, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", recipe, re.MULTILINE)) == {
        "${BASE}", "dependencies", "scratch",
    }  # fmt: skip
