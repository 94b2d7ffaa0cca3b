"""A flaky connection without faults as a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance import files_place
from tmg_etl.testing import conformance


class FlakyOrigin(files_place.FilesOrigin):
    """Files behind a connection that does not fail."""

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "flaky", "of": "behind"}

    @property
    def others(self) -> Mapping[str, Mapping[str, Any]]:
        return {"behind": super().connection}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> FlakyOrigin:
    return FlakyOrigin(tmp_path_factory.mktemp("lake"))


class TestSource(conformance.SourceConformance):
    """See `conformance`."""
