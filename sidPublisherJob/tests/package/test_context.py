"""What a build may see: little, and nothing that is secret."""

from __future__ import annotations

import os
import pathlib

from tests.package import conftest, image_kit

ALLOWED = ("sidPublisherJob/tmg_etl/", "sidPublisherJob/sid_dim_agent/")
FILES = {
    f"sidPublisherJob/{name}"
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "build-requirements.txt")
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
        builder.buildah("rm", container)
        builder.buildah("rmi", tag)
    assert seen >= FILES
    assert "sidPublisherJob/tmg_etl/cli/pipeline.py" in seen
    assert not {name for name in seen - FILES if not name.startswith(ALLOWED)}
    assert not seen & conftest.POISON.keys()
