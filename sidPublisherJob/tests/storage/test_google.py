"""What Google's refusals become: recorded shapes of REST, plain text, XML and gRPC."""

import urllib.error

import pytest
from google.api_core import exceptions

from tests.storage import google_access, google_answer, google_failure
from tmg_etl import errors
from tmg_etl.storage import google, refusal

CASES = google_access.REFUSALS | google_failure.FAILURES


@pytest.mark.parametrize("name", CASES)
def test_refusal_becomes_one_line_with_its_code(name):
    exc, kind, text = CASES[name]
    found = google.explained(exc, google_answer.SUBJECT, "me@x.com")
    assert type(found) is kind
    assert text in str(found)
    assert str(found).startswith(f"{google_answer.SUBJECT}: ")
    assert "https://" not in str(found).replace("https://console.developers", "")
    assert "\n" not in str(found)


def test_bug_stays_a_bug():
    with pytest.raises(KeyError):
        google.explained(KeyError("x"), google_answer.SUBJECT)
    with pytest.raises(urllib.error.URLError):
        google.explained(urllib.error.URLError("x"), google_answer.SUBJECT)


def test_own_error_is_left_alone():
    error = errors.DataError("x")
    assert google.explained(error, google_answer.SUBJECT) is error


def test_without_a_principal_it_is_this_login():
    text = str(google.explained(CASES["bigquery job"][0], google_answer.SUBJECT))
    assert "this login does not have the permission bigquery.jobs.create" in text


RETRIED = {
    "rate of a project",
    "quota over grpc",
    "backend",
    "job backend error with status 400",
    "html",
    "empty 500",
    "unavailable over grpc",
    "deadline over grpc",
    "metadata server away",
    "token server away",
    "token server busy",
    "no network",
    "slow network",
    "reset",
    "cut body",
}


@pytest.mark.parametrize("name", CASES)
def test_retried_is_what_google_says(name):
    assert google.is_temporary(CASES[name][0]) is (name in RETRIED)


def test_retry_gives_up_at_its_deadline():
    seen = []

    def call():
        seen.append(1)
        raise exceptions.ServiceUnavailable("x")

    told = []
    with pytest.raises(exceptions.RetryError):
        google.retry(0.1, told.append)(call)()
    assert len(seen) > 1
    # The failure that ended it is not tried again, and told all the same.
    assert len(told) == len(seen)


@pytest.mark.parametrize(
    ("permission", "role"),
    [
        ("storage.objects.get", "roles/storage.objectViewer"),
        ("storage.objects.delete", "roles/storage.objectUser"),
        ("storage.buckets.get", "roles/storage.bucketViewer"),
        ("bigquery.tables.getData", "roles/bigquery.dataViewer"),
        ("bigquery.tables.updateData", "roles/bigquery.dataEditor"),
        ("bigquery.readsessions.getData", "roles/bigquery.readSessionUser"),
        ("serviceusage.services.use", "roles/serviceusage.serviceUsageConsumer"),
        ("pubsub.topics.publish", "a role that holds pubsub.topics.publish"),
    ],
)
def test_role_for_a_permission(permission, role):
    assert refusal.role_for(permission) == role
