"""Files of a bucket as a source: Parquet written with pyarrow alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.bucket_place import BucketOrigin
from tests.connectors import bucket_kit
from tmg_etl.testing import conformance


@pytest.fixture(scope="module", params=["gs", "s3"])
def origin(request: pytest.FixtureRequest) -> Iterator[BucketOrigin]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "gs":
            with bucket_kit.google(patch) as place:
                yield BucketOrigin(place)
        else:
            with bucket_kit.amazon_server() as endpoint:
                yield BucketOrigin(bucket_kit.amazon(patch, endpoint))


class TestSource(conformance.SourceConformance):
    """See `conformance`."""
