"""Files in Cloud Storage as a target: one Parquet object for each table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.bucket_place import BucketPlace
from tests.connectors import bucket_kit
from tmg_etl.testing import conformance


@pytest.fixture(scope="module")
def target_place() -> Iterator[BucketPlace]:
    with pytest.MonkeyPatch.context() as patch, bucket_kit.google(patch) as place:
        yield BucketPlace(place)


class TestValues(conformance.ValueConformance):
    profile = BucketPlace


class TestRows(conformance.RowConformance):
    profile = BucketPlace


class TestSchema(conformance.SchemaConformance):
    profile = BucketPlace


class TestFailures(conformance.FailureConformance):
    profile = BucketPlace


class TestRefusals(conformance.RefusalConformance):
    profile = BucketPlace


class TestNoDelta(conformance.NoDeltaConformance):
    profile = BucketPlace
