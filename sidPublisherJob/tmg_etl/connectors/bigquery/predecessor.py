"""What a dead run may have left under way, as its lock's record notes it, and how it is ended.

A job goes on when the process that sent it dies, and a session keeps its transaction open. Both
are noted in the lock before they can change the target. The next holder of the lock ends them
before it does anything else, so that nothing of the dead run arrives later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Any

from google.api_core import exceptions

from tmg_etl import errors
from tmg_etl.connectors.bigquery import session as session_module

_LOG = logging.getLogger("tmg_etl")

#: Seconds in which a job that is cancelled, or a long one, must have ended.
_END_S = 120.0
_POLL_S = 0.5


def job_note(job_id: str, location: str) -> str:
    """Return the note of a job that publishes."""
    return json.dumps({"job": job_id, "location": location})


def session_note(session_id: str, location: str) -> str:
    """Return the note of a session whose transaction publishes."""
    return json.dumps({"session": session_id, "location": location})


def end(session: session_module.Session, note: str) -> None:
    """End what a note names.

    Raises:
        errors.TemporaryError: it did not end in time; the target must not be touched.
    """
    if not note:
        return
    try:
        facts: dict[str, str] = json.loads(note)
    except ValueError:
        facts = {}
    if "job" in facts:
        _end_job(session, facts["job"], facts.get("location"))
    elif "session" in facts:
        _LOG.warning("%s: ending the session of a dead run", session.subject)
        session.end(facts["session"])
    else:
        raise errors.ConfigError(
            f"{session.subject}: the lock holds a note that this version does not know:"
            f" {errors.shorten(note)}",
            hint="a newer version wrote it: let that one run once",
        )


def _end_job(session: session_module.Session, job_id: str, location: str | None) -> None:
    clients = session.clients
    job: Any = None
    # One that was never sent cannot do harm later: the table that it would read is swept.
    with (
        clients.guarded(f"job {job_id} of a dead run"),
        contextlib.suppress(exceptions.NotFound),
    ):
        job = clients.rest.get_job(job_id, location=location, retry=clients.contact)
    if job is None or job.state == "DONE":
        return
    _LOG.warning("%s: cancelling the job %s of a dead run", session.subject, job_id)
    deadline = time.monotonic() + _END_S
    with clients.guarded(f"job {job_id} of a dead run"):
        job.cancel(retry=clients.contact)
        while job.state != "DONE":
            if time.monotonic() > deadline:
                raise errors.TemporaryError(
                    f"{session.subject}: the job {job_id} of a dead run has not ended"
                    f" {_END_S:g} s after it was cancelled",
                    hint="run again later",
                )
            clients.stop.check()
            time.sleep(_POLL_S)
            job.reload(retry=clients.contact)
