"""Names of Kubernetes objects: DNS labels of limited length that stay different when cut.

The chart makes the same ones (`gke_deploy/templates/_name.tpl`); a test compares them.
"""

from __future__ import annotations

import hashlib
import re

CRONJOB_LENGTH = 52
"""The controller appends 11 characters to make the name of a Job."""

LABEL_LENGTH = 63
"""Of labels, and of Jobs: their name becomes a label of their pods."""

_HASH = 8


def label(text: str, length: int = LABEL_LENGTH) -> str:
    """Return `text` as a DNS label: lower case, digits and hyphens.

    Underscores become hyphens. Whatever else does not fit is replaced or cut, and then the name
    ends in a hash of the whole text.

    Args:
        text: any name.
        length: most characters, 20 or more.
    """
    plain = text.replace("_", "-")
    slug = re.sub(r"[^a-z0-9-]+", "-", plain.lower()).strip("-")
    if slug == plain and len(slug) <= length:
        return slug
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
    head = slug[: length - _HASH - 1].removesuffix("-")
    return f"{head}-{digest}".removeprefix("-")


def cronjob(release: str, suffix: str) -> str:
    """Return the name of a CronJob of a release: of a transfer, of `run` or of `backfill`."""
    text = f"{release}-{suffix}"
    if "-" in release:
        # `sid-dev` and `x` must not be `sid` and `dev-x`.
        text += f"-{hashlib.sha256(f'{release}/{suffix}'.encode()).hexdigest()[:_HASH]}"
    return label(text, CRONJOB_LENGTH)


def job(release: str, transfer: str, facts: str) -> str:
    """Return the name of a Job, the same for the same facts.

    Args:
        release: Helm release.
        transfer: name of the transfer.
        facts: all that makes this run another run: image, arguments, window.
    """
    digest = hashlib.sha256(facts.encode()).hexdigest()[:10]
    # Pods of an Indexed Job append an index and five letters; host names have 63 characters too.
    return f"{label(f'{release}-{transfer}', CRONJOB_LENGTH - 11)}-{digest}"
