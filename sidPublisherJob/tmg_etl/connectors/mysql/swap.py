"""The exchange of two tables by one ``RENAME TABLE``, with a short wait for its lock."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from tmg_etl import errors
from tmg_etl.connectors.mysql import session as session_module

#: Seconds that one attempt waits. Whoever comes while RENAME waits for its lock waits behind it, so
#: this is what a reader can feel; `lock_wait_timeout` knows whole seconds only.
_ATTEMPT_S = 0.4
#: Seconds until the attempts end with a retriable error.
_PATIENCE_S = 30.0
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)


def rename(
    main: session_module.Session,
    pairs: list[tuple[str, str]],
    is_done: Callable[[], bool],
    table: str,
) -> None:
    """Rename tables in one atomic step, however busy they are.

    Args:
        main: a connection to the server; the step itself gets a connection of its own, which a
            late ``KILL`` cannot confuse with another statement.
        pairs: old and new name, qualified.
        is_done: asks the server whether the step has been made.
        table: as the user names it.

    Raises:
        errors.TemporaryError: other sessions held the table all the time, or the server took no
            more connections.
    """
    sql = "RENAME TABLE " + ", ".join(f"{old} TO {new}" for old, new in pairs)
    deadline = time.monotonic() + _PATIENCE_S
    attempt = 0
    while True:
        main.check_stop()
        is_connected = False
        try:
            with contextlib.closing(main.sibling()) as session:
                is_connected = True
                _attempt(session, sql)
        except errors.TmgEtlError as busy:
            # Killed while it waited, or, rarely, in the very moment when it was done. An attempt
            # whose connection was cut may be done later, and the next one finds nothing to rename.
            is_unsure = isinstance(busy, errors.TemporaryError)
            if (is_unsure or attempt) and is_done():
                return
            if not is_unsure:
                raise
            if time.monotonic() > deadline:
                if not is_connected:
                    raise
                raise errors.TemporaryError(
                    f"{table}: other sessions kept the table for {_PATIENCE_S:g} s, so that it"
                    " could not be swapped",
                    hint="end transactions that read it and stay open; the target is unchanged",
                ) from busy
        else:
            return
        time.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
        attempt += 1


def _attempt(session: session_module.Session, sql: str) -> None:
    session.run("SET SESSION lock_wait_timeout = 1", cancellable=False)
    with _time_limit(session), session.translating():
        session.connection.query(sql)


@contextlib.contextmanager
def _time_limit(session: session_module.Session) -> Iterator[None]:
    """Kill what `session` executes if the block takes too long."""
    watch = threading.Timer(_ATTEMPT_S, _kill, [session])
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _kill(session: session_module.Session) -> None:
    # Without this kill the attempt ends by `lock_wait_timeout`.
    with contextlib.suppress(errors.TmgEtlError):
        session.cancel()
