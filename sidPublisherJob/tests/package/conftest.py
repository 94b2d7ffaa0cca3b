"""The image, built once for the session from a checkout in which somebody left keys."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.package import image_kit
from tmg_etl.__version__ import __version__

FACTS = {
    "VERSION": __version__,
    "REVISION": "0123456789abcdef0123456789abcdef01234567",
    "CREATED": "2026-01-02T03:04:05Z",
    "SOURCE": "https://example.com/sid.git",
}

# In pieces, so that a scan of this repository does not find it.
PRIVATE_KEY = "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQ\n-----END " + "PRIVATE KEY-----\n"
SERVICE_ACCOUNT = json.dumps({"type": "service_" + "account", "private_key": PRIVATE_KEY})
POISON = {
    "keyscredentials/sid-publisher.json": SERVICE_ACCOUNT,
    "sid-publisher.json": SERVICE_ACCOUNT,
    "sidPublisherJob/key.json": SERVICE_ACCOUNT,
    "sidPublisherJob/tmg_etl/key.json": SERVICE_ACCOUNT,
    "sidPublisherJob/tmg_etl/launch/server.pem": PRIVATE_KEY,
    "sidPublisherJob/tmg_etl/.env": "PASSWORD=poison\n",
    "sidPublisherJob/sid_dim_agent/id.key": PRIVATE_KEY,
    ".env": "PASSWORD=poison\n",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"image", "builder"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("image")


@pytest.fixture(scope="session")
def builder() -> image_kit.Builder:
    """Builds images."""
    return image_kit.Builder()


@pytest.fixture(scope="session")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of this checkout with key files in it."""
    context = tmp_path_factory.mktemp("checkout")
    image_kit.copy_of_checkout(context)
    for name, content in POISON.items():
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(content)
    return context


@pytest.fixture(scope="session")
def image(builder: image_kit.Builder, poisoned: pathlib.Path) -> Iterator[image_kit.Image]:
    """The image."""
    tag = f"localhost/sidpublisherjob:{__version__}"
    with builder.locked():
        base = builder.base()
        builder.build(poisoned, tag, {**FACTS, "BASE": base})
        container, root = builder.mount(tag)
    described = json.loads(builder.buildah("inspect", "--type", "image", tag))["OCIv1"]
    yield image_kit.Image(builder, tag, root, described["config"], described["history"])
    builder.remove(container)
