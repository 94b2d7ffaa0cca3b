"""What an image is made of, as a list that scanners read (CycloneDX), beside it in the registry.

Source: https://cyclonedx.org/docs/1.6/json/. It lists the locked Python packages; the image itself
lists Debian's in its /var/lib/dpkg/status.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import uuid
from typing import Any

from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.launch import image, registry

KIND = "application/vnd.cyclonedx+json"

_LOCK = pathlib.Path("sidPublisherJob") / "requirements.txt"
_PIN = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))? \\$",
    re.M,
)
_EMPTY = registry.Blob("application/vnd.oci.empty.v1+json", b"{}")


@dataclasses.dataclass(frozen=True)
class Package:
    """A locked package.

    Attributes:
        name: normalised.
        version: of it.
        marker: where it is installed, as Python's package metadata says it; empty means everywhere.
    """

    name: str
    version: str
    marker: str = ""

    @property
    def url(self) -> str:
        """Its name that is the same in every tool (package URL)."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(root: pathlib.Path) -> list[Package]:
    """Return the packages that the lock has, by name."""
    text = (root / _LOCK).read_text(encoding="utf-8")
    return [
        Package(found["name"], found["version"], found["marker"] or "")
        for found in _PIN.finditer(text)
    ]


def make(root: pathlib.Path) -> dict[str, Any]:
    """Return the list for this version; one commit gives the same again."""
    facts = image.build_facts(root)
    own = {"type": "application", "name": image.TITLE, "version": __version__}
    own["bom-ref"] = own["purl"] = f"pkg:pypi/{image.TITLE.lower()}@{__version__}"
    name = f"{own['purl']}+{facts['REVISION']}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}",
        "version": 1,
        "metadata": {"timestamp": facts["CREATED"], "component": own},
        "components": [_component(package) for package in locked(root)],
    }


def attach(root: pathlib.Path, env: str) -> str:
    """Put this version's list beside its image, if it is not there; return its name by digest.

    Args:
        root: folder of the repository.
        env: the environment whose registry has the image.

    Raises:
        registry.VersionNotFoundError: the registry has no such image.
    """
    place = registry.Repository.parse(image.name(root, env))
    subject, _ = place.read(__version__)
    layer = registry.Blob(KIND, json.dumps(make(root), indent=1).encode())
    made = registry.manifest(_EMPTY, layer, artifactType=KIND, subject=subject.descriptor)
    place.attach(subject.digest, made, _EMPTY, layer)
    return f"{place}@{made.digest}"


def read(root: pathlib.Path, env: str, wanted: str) -> dict[str, Any]:
    """Return the list that a version in the registry has.

    Args:
        root: folder of the repository.
        env: the environment whose registry is asked.
        wanted: the version.

    Raises:
        errors.UsageError: it has none.
        registry.VersionNotFoundError: the registry has no such image.
    """
    place = registry.Repository.parse(image.name(root, env))
    subject, _ = place.read(wanted)
    for one in place.attached(subject.digest):
        if one.get("artifactType") == KIND:
            _, content = place.read(one["digest"])
            found: dict[str, Any] = json.loads(place.fetch(content["layers"][0]).data)
            return found
    raise errors.UsageError(
        f"version {wanted} has no list of its packages in {place}",
        hint="attach it from its own checkout, with attach-sbom",
    )


def _component(package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "purl": package.url,
    }
    if package.marker:
        # Which of them an image has depends on its Python and machine.
        found["scope"] = "optional"
        found["properties"] = [{"name": "tmg-etl:marker", "value": package.marker}]
    return found
