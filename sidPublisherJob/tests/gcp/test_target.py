"""BigQuery itself as a target."""
# ruff: noqa: F401 - the same suites with another server

import pytest

from tests.conformance.test_bigquery_target import (
    TestFailures,
    TestRefusals,
    TestReplaceWindow,
    TestRows,
    TestSchema,
    TestUpsert,
    TestValues,
    target_place,
)

pytestmark = [
    pytest.mark.gcp,
    # Google's library asks people to name a quota project.
    pytest.mark.filterwarnings("ignore:Your application has authenticated"),
]
