"""The clients of one connection, made on first use; jobs, their names, labels and end.

Every call to Google of this connector goes through `Clients`, so that errors are translated in one
place, a stop cancels the job under way, and a job that was sent twice runs once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pathlib
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from google.api_core import exceptions
from google.cloud import bigquery

from tmg_etl import errors, storage
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.storage import base as storage_base
from tmg_etl.storage import google

if TYPE_CHECKING:
    from google.api_core import retry as retries
    from google.cloud import bigquery_storage_v1

    from tmg_etl.config import model

Job = TypeVar("Job", bound=Any)

_LOG = logging.getLogger("tmg_etl")

#: Seconds in which a first answer is waited for: a wrong host should not cost minutes.
CONTACT_S = 10.0
#: Seconds in which what fails for a moment is tried again.
PATIENCE_S = 120.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 1.0
#: A label's value has at most so many characters.
#: Source: https://cloud.google.com/bigquery/docs/labels-intro#requirements
_LABEL_LENGTH = 63

_STORAGE_HOST = "bigquerystorage.googleapis.com:443"
# gRPC's own limit of a message is 4 MiB. A peer that went away without a word is noticed within a
# minute and a half of a stream, not when the call ends after hours.
_CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 30_000),
]

# Read by the official REST client itself; the two others by `Clients`.
REST_EMULATOR = "BIGQUERY_EMULATOR_HOST"
STORAGE_EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"


class Clients:
    """What one connection talks through; shared by its sources and targets, thread-safe.

    Args:
        spec: the connection in the config.
        folder: where the path of a key file starts.
        stop: cancels the job under way.
        owner: the run that jobs are named and labelled after.
    """

    def __init__(
        self,
        spec: model.BigQueryConnection,
        folder: pathlib.Path,
        stop: run_module.StopFlag,
        owner: base.Owner,
    ) -> None:
        self.spec = spec
        self.stop = stop
        self.owner = owner
        self.place = f"connection {spec.name!r}"
        self._chosen = spec.credentials.located(folder)
        self._numbers: dict[str, int] = {}
        self._guard = threading.Lock()
        #: Every job that was sent, in that order.
        self.job_ids: list[str] = []
        #: What this run names its things by; outside a run there is no id for that.
        self.token = owner.run_id or secrets.token_hex(12)

    # --- clients --------------------------------------------------------------------------------

    @functools.cached_property
    def credentials(self) -> Any:
        """Return who Google is asked as."""
        return google.credentials(self._chosen)

    @functools.cached_property
    def rest(self) -> bigquery.Client:
        """Return the client of jobs and tables; its project is the one that pays."""
        return bigquery.Client(
            project=self.spec.billing_project or self.spec.project,
            credentials=self.credentials,
            location=self.spec.location,
        )

    @functools.cached_property
    def reader(self) -> bigquery_storage_v1.BigQueryReadClient:
        """Return the client of the Storage Read API."""
        from google.cloud import bigquery_storage_v1
        from google.cloud.bigquery_storage_v1.services.big_query_read import transports

        emulator = os.environ.get(STORAGE_EMULATOR)
        kind: Any = transports.BigQueryReadGrpcTransport
        if emulator:
            import grpc  # type: ignore[import-untyped]

            channel = grpc.insecure_channel(emulator, options=_CHANNEL)
        else:
            channel = kind.create_channel(
                _STORAGE_HOST, credentials=self.credentials, options=_CHANNEL
            )
        made: bigquery_storage_v1.BigQueryReadClient
        made = bigquery_storage_v1.BigQueryReadClient(transport=kind(channel=channel))  # type: ignore[no-untyped-call]
        return made

    @functools.cached_property
    def store(self) -> storage_base.Store:
        """Return the store of the staging bucket."""
        return storage.open_store("gs", self._chosen)

    def close(self) -> None:
        """Give back connections; what is used afterwards is made again."""
        for name in ("rest", "reader", "store"):
            made = self.__dict__.pop(name, None)
            if made is None:
                continue
            with contextlib.suppress(Exception):
                (made.transport if name == "reader" else made).close()

    # --- names ----------------------------------------------------------------------------------

    def reference(self, name: str) -> bigquery.TableReference:
        """Return the table that a name of the config means.

        Args:
            name: ``table``, ``dataset.table`` or ``project.dataset.table``; what has more dots, or
                none of this form, is the name of a table in the connection's dataset.
        """
        parts = name.split(".")
        if len(parts) == 3 and all(parts):
            project, dataset, table = parts
        elif len(parts) == 2 and all(parts):
            project, (dataset, table) = self.spec.project, parts
        else:
            project, dataset, table = self.spec.project, self.spec.dataset, name
        return bigquery.DatasetReference(project, dataset).table(table)

    @staticmethod
    def names_of(reference: bigquery.TableReference) -> tuple[str, str, str]:
        """Return the names by which a config may mean a table; see `reference`."""
        table, dataset = reference.table_id, f"{reference.dataset_id}.{reference.table_id}"
        return table, dataset, f"{reference.project}.{dataset}"

    @property
    def staging(self) -> str:
        """Return the staging folder without a slash at its end.

        Raises:
            errors.ConfigError: the connection has none, or it is no gs:// URL.
        """
        found = self.spec.staging
        if not found or storage_base.scheme_of(found) != "gs":
            raise errors.ConfigError(
                f"{self.place}: found {errors.shorten(found) if found else 'no `staging`'},"
                " expected a gs:// folder for files between BigQuery and this job",
                hint="write `staging: gs://bucket/folder`, in the location of the dataset",
            )
        storage_base.split(found)
        return found.rstrip("/")

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """Return the labels of jobs: transfer, run and environment, as BigQuery allows them."""
        given = {
            "tmg_transfer": self.owner.transfer,
            "tmg_run": self.owner.run_id,
            "tmg_env": self.owner.env,
        }
        return {key: label(value) for key, value in given.items() if value}

    def job_id(self, purpose: str, content: str = "") -> str:
        """Return the name of the next job for a purpose, the same however often it is sent.

        A name that another job had already would lead to that job's result: names differ by run,
        connection, number and content.

        Args:
            purpose: one word.
            content: what is asked for, such as the text of a query.
        """
        with self._guard:
            number = self._numbers[purpose] = self._numbers.get(purpose, 0) + 1
        asked = hashlib.sha256(f"{self.spec.name}\0{content}".encode()).hexdigest()[:8]
        return f"tmg_{self.token}_{purpose}_{number}_{asked}"

    # --- calls ----------------------------------------------------------------------------------

    @property
    def retry(self) -> retries.Retry:
        """Return the retry loop of calls that may run twice."""
        return google.retry(PATIENCE_S, on_error=self._check_stop)

    @property
    def contact(self) -> retries.Retry:
        """Return the retry loop of the first call, and of those that clean up: a stop is no end."""
        return google.retry(CONTACT_S)

    def _check_stop(self, _: BaseException) -> None:
        self.stop.check()

    @contextlib.contextmanager
    def guarded(self, subject: str) -> Iterator[None]:
        """Translate Google's errors in a block into ours.

        Args:
            subject: what is asked for, as the user names it.
        """
        try:
            yield
        except errors.TmgEtlError:
            raise
        except Exception as found:
            raise self.explained(found, subject) from found

    def explained(self, found: BaseException, subject: str) -> errors.TmgEtlError:
        """Return what stands for an error of Google's libraries; a bug is raised as it is."""
        login = self.__dict__.get("credentials")
        who = google.principal(login) if login is not None else None
        error = google.explained(found, f"{self.place}: {subject}", who)
        if "partition elimination" in error.message:
            error.hint = "the table wants a filter: use the mode delta, or a `query:` that has one"
        return error

    def run(
        self,
        purpose: str,
        start: Callable[[str], Job],
        *,
        subject: str,
        content: str = "",
        location: str | None = None,
        on_start: Callable[[Job], None] | None = None,
        can_stop: bool = True,
    ) -> Job:
        """Run a job to its end; cancel it when the run is stopped.

        Args:
            purpose: one word for the job's name, such as ``load``.
            start: sends the job under the id that it is given, for example
                ``lambda job_id: clients.rest.query(sql, job_id=job_id, retry=clients.retry)``.
            subject: what is done, for messages.
            content: what is asked for; part of the job's name.
            location: where the job runs; needed to find one that was sent before.
            on_start: told of the job as soon as BigQuery knows it.
            can_stop: False for what must also work after a stop: cleaning up.

        Returns:
            The job, done and without an error.

        Raises:
            errors.TmgEtlError: it could not be sent, or it failed.
        """
        job_id = self.job_id(purpose, content)
        self.job_ids.append(job_id)
        if can_stop:
            self.stop.check()
        with self.guarded(subject):
            job = self._sent(job_id, start, location)
            if on_start:
                on_start(job)
            self._wait(job, can_stop)
            failure = job.exception()
            if failure is not None:
                raise failure
        return job

    def _sent(self, job_id: str, start: Callable[[str], Job], location: str | None) -> Job:
        """Send a job; one of that name is the same, sent before the answer was lost."""
        try:
            return start(job_id)
        except exceptions.Conflict:
            _LOG.info("the job %s is there already; waiting for it", job_id)
            found: Any = self.rest.get_job(
                job_id, location=location or self.spec.location, retry=self.retry
            )
            return found  # type: ignore[no-any-return]

    def _wait(self, job: Job, can_stop: bool) -> None:
        """Poll a job until it is done; nobody knows sooner of a stop than who asks for it."""
        pause_s = _FIRST_POLL_S
        while job.state != "DONE":
            if can_stop and self.stop.is_set:
                # The job may end meanwhile, and the network be what is gone: the stop goes on.
                with contextlib.suppress(Exception):
                    job.cancel(retry=None, timeout=CONTACT_S)
                self.stop.check()
            time.sleep(pause_s * random.uniform(0.8, 1.0))  # noqa: S311 - spreads polls
            pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)
            job.reload(retry=self.retry if can_stop else self.contact)


def label(value: str) -> str:
    """Return a text as the value of a label: lower case letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^\w-]", "_", value.lower())[:_LABEL_LENGTH]
