"""A flaky connection without faults as a source."""

from __future__ import annotations

import pytest

from tests.conformance import files_place, flaky_place
from tmg_etl.testing import conformance


class FlakyOrigin(flaky_place.Behind, files_place.FilesOrigin):
    """Files behind a connection that does not fail."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> FlakyOrigin:
    return FlakyOrigin(tmp_path_factory.mktemp("lake"))


class TestSource(conformance.SourceConformance):
    """See `conformance`."""
