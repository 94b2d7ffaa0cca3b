"""The whole path from BigQuery itself to a server and back, by the command as a process."""
# ruff: noqa: F401 - the same tests with another server

import pytest

from tests.e2e.test_bigquery import (
    large,
    test_a_million_rows_are_served_in_flat_memory,
    test_a_reader_of_the_ledger_can_tell_snapshot_bytes_and_jobs,
    test_every_type_is_served,
    test_postgres_is_published_to_bigquery_and_back,
    test_what_a_server_cannot_hold_is_found_before_anything_is_written,
    workshop,
)

pytestmark = [
    pytest.mark.gcp,
    # Google's library asks people to name a quota project.
    pytest.mark.filterwarnings("ignore:Your application has authenticated"),
]
