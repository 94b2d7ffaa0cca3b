"""`RollbackPipeline`: puts a table that `keep_previous` kept back in its place, in one step."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tmg_etl import errors, etl
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import previous, runner

if TYPE_CHECKING:
    from tmg_etl.config import model
    from tmg_etl.ledger import record


@dataclasses.dataclass(frozen=True)
class Kept:
    """A kept table.

    Attributes:
        name: of the table.
        run_id: the run that replaced it.
        replaced_at: when that run began, aware UTC.
        fingerprint: what it held then, by the ledger; None when the ledger does not know.
        expires_at: until when it is kept by the config of today; None: the next run drops it.
    """

    name: str
    run_id: str
    replaced_at: datetime.datetime | None
    fingerprint: str | None
    expires_at: datetime.datetime | None


class RollbackPipeline(etl.TMGETL):
    """Swaps a kept table with the target; the table that is replaced by it is kept in turn.

    Args:
        run: of the transfer.
        ledger_url: where fingerprints of kept tables are remembered.
        wanted: beginning of the id of the run whose replacement is undone; None: the latest.
        is_unverified: put a table back that the ledger knows no fingerprint of.
        recorder: where the rollback is written down.
    """

    target: base.Target
    #: The table that is put back; None until it is chosen, and where there is nothing to put back.
    chosen: Kept | None = None

    def __init__(
        self,
        run: run_module.Run,
        *,
        ledger_url: str,
        wanted: str | None = None,
        is_unverified: bool = False,
        recorder: run_module.Recorder | None = None,
    ) -> None:
        super().__init__(run, recorder=recorder)
        self._ledger_url = ledger_url
        self._wanted = wanted
        self._is_unverified = is_unverified
        self._adopted: str | None = None
        self._proved = base.Fingerprint(0)

    @property
    def kept_name(self) -> str:
        """Return the name under which the table that is replaced now is kept."""
        return self.run.names.table("prev", self.run.transfer.target.table)

    def open_target(self) -> base.Target:
        """Return the table to put back, opened."""
        spec = self.run.transfer.target
        return self.run.connections[spec.connection].open_target(spec.table)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Open the target and hold its lock."""
        with self.open_target() as target:
            self.target = target
            with target.lock(self.run.id, self.run.transfer.lock_wait_s):
                yield

    def pre_execution_cleansing(self) -> None:
        """Remove what dead runs left, and refuse what cannot be swapped."""
        self.sweep()
        self.refuse()

    def sweep(self) -> None:
        """Remove what dead runs left."""
        for name in self.target.sweep(self.run.names):
            self.logger.info("removed %s, left by an earlier run", name)

    def refuse(self) -> None:
        """Refuse what cannot be swapped.

        Raises:
            errors.ConfigError: there is no table, or a rename would break it.
        """
        table = self.target.describe()
        if table is None:
            raise errors.ConfigError(f"there is no table {self.target.table} to roll back")
        if table.swap_blockers:
            raise errors.ConfigError(
                f"{self.target.table} cannot be swapped: {'; '.join(table.swap_blockers)}"
            )

    def pipeline(self) -> None:
        """Prove the kept table, and swap."""
        self.make_ready(choose(self.kept(), self._wanted, self.target.table))
        self.check()
        with self.run.phase(run_module.Phase.PUBLISH):
            replaced = self.target.swap_keeping(
                self.exchange.shadow, self.run.names, self.kept_name
            )
        self.report(replaced)

    def kept(self) -> list[Kept]:
        """Return what is kept beside the target, the latest first."""
        return kept(self.run, self.target, self._ledger_url)

    def has_lost(self, step_id: str) -> bool:
        """Return whether the ledger knows that a step kept a table of this one; it is not there."""
        name = run_module.TemporaryNames(step_id).table("prev", self.run.transfer.target.table)
        return bool(_keepers(self._ledger_url, [name]))

    def make_ready(self, chosen: Kept) -> None:
        """Prove a kept table, and have it ready to be swapped in.

        Raises:
            errors.DataError: it is not what was kept, or nobody knows.
        """
        self.chosen = chosen
        self._proved = self._prove(chosen)
        self._adopted = chosen.name
        self.target.adopt(chosen.name)
        # What was built on it must not have changed a row.
        self._require(chosen, self._proved, previous.fingerprint(self.run, chosen.name))

    def check(self) -> None:
        """Ask, right before the swap, whether it may still be made."""
        self.target.check_lock()
        self.run.stop.check()

    @property
    def exchange(self) -> base.Exchange:
        """Return the two tables that change places; `make_ready` was called."""
        assert self.chosen is not None
        return base.Exchange(self.target, self.chosen.name, self.kept_name)

    def report(self, replaced: int) -> None:
        """Write down what was done, after the swap of so many rows."""
        chosen, found = self.chosen, self._proved
        assert chosen is not None
        self._adopted = None
        result = run_module.Result(
            rows_inserted=found.rows,
            rows_deleted=replaced,
            rows_updated=0,
            rows_unchanged=0,
            publish="rollback",
            publish_reason=f"puts back what the run {chosen.run_id} replaced",
            fingerprint_source=chosen.fingerprint or str(found),
            fingerprint_target=str(found),
        )
        self.result = previous.remembered(self.run, result, self.kept_name)

    def post_execution_cleanup(self) -> None:
        """Leave a table that was not put back as it was."""
        if self._adopted is not None:
            self.target.disown(self._adopted)

    def _prove(self, chosen: Kept) -> base.Fingerprint:
        found = previous.fingerprint(self.run, chosen.name)
        if chosen.fingerprint is None:
            if not self._is_unverified:
                raise errors.DataError(
                    f"the ledger knows no fingerprint of {chosen.name}, which the run"
                    f" {chosen.run_id} replaced: that run did not get to its end",
                    hint="look at the table, and add --unverified to put it back all the same",
                )
            self.run.warn(f"{chosen.name} is put back as it is: {found}")
        elif chosen.fingerprint.partition(" 0x")[1] == "":
            # Only counted then, so only counted now.
            found = base.Fingerprint(found.rows)
        self._require(chosen, chosen.fingerprint, found)
        return found

    def _require(
        self, chosen: Kept, expected: str | base.Fingerprint | None, found: base.Fingerprint
    ) -> None:
        counted = base.Fingerprint(found.rows)
        if expected is not None and str(expected) not in (str(found), str(counted)):
            raise errors.DataError(
                f"{chosen.name} is not what the run {chosen.run_id} replaced: it held {expected},"
                f" now {found}",
                hint="somebody changed it; nothing was put back",
            )


def build(
    config: model.Config,
    transfer_name: str,
    *,
    wanted: str | None = None,
    is_unverified: bool = False,
    progress: run_module.Progress | None = None,
    logger: logging.Logger | None = None,
    run_id: str | None = None,
) -> RollbackPipeline:
    """Return the rollback of a transfer; nothing is opened yet.

    Args:
        config: with one environment merged in.
        transfer_name: key in `transfers`.
        wanted: see `RollbackPipeline`.
        is_unverified: see `RollbackPipeline`.
        progress: None is silent.
        logger: None takes the logger ``tmg_etl``.
        run_id: None makes a new one.

    Raises:
        errors.ConfigError: it is published with its group only, and so put back with it.
    """
    from tmg_etl.ledger import recorder

    group = config.group_of(transfer_name)
    if group is not None:
        raise errors.ConfigError(
            f"the transfer {transfer_name} is put back with its publish group only: alone it would"
            " be of another day than the others",
            hint=f"roll back {group}",
        )
    return RollbackPipeline(
        make_run(config, transfer_name, progress, logger, run_id),
        ledger_url=config.ledger,
        wanted=wanted,
        is_unverified=is_unverified,
        recorder=recorder.LedgerRecorder(config.ledger, config.redact),
    )


def listed(config: model.Config, transfer_name: str) -> list[Kept]:
    """Return the tables that are kept for a transfer, the latest first; writes nothing."""
    run = make_run(config, transfer_name)
    spec = run.transfer.target
    with run.connections[spec.connection].open_target(spec.table) as target:
        # Where there is no table, there may be no file either.
        return kept(run, target, config.ledger) if target.describe() else []


def make_run(
    config: model.Config,
    transfer_name: str,
    progress: run_module.Progress | None = None,
    logger: logging.Logger | None = None,
    run_id: str | None = None,
    stop: run_module.StopFlag | None = None,
) -> run_module.Run:
    """Return the frozen values of one rollback; arguments as for `build`."""
    run = runner.make_run(
        config,
        transfer_name,
        execution_date=datetime.datetime.now(datetime.UTC).date(),
        delta_start_date=None,
        write_mode=run_module.WriteMode.TRUNCATE,
        progress=progress,
        logger=logger,
        stop=stop,
        run_id=run_id,
    )
    path = f"{RollbackPipeline.__module__}:{RollbackPipeline.__qualname__}"
    return dataclasses.replace(run, is_rollback=True, pipeline_path=path)


def kept(run: run_module.Run, target: base.Target, ledger_url: str) -> list[Kept]:
    """Return the tables that are kept beside a target, the latest first."""
    names = target.kept(run.names)
    keepers = _keepers(ledger_url, names) if names else {}
    found = []
    for name in names:
        run_id = run_module.TemporaryNames.owner(name)
        keeper = keepers.get(name)
        found.append(
            Kept(
                name,
                run_id,
                # An id tells the second only.
                keeper.started_at if keeper else run_module.started_at(run_id),
                keeper.previous_fingerprint if keeper else None,
                previous.expires_at(run, name),
            )
        )
    dawn = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return sorted(found, key=lambda one: (one.replaced_at or dawn, one.run_id), reverse=True)


def choose(tables: list[Kept], wanted: str | None, target: str) -> Kept:
    """Return the kept table that is meant.

    Args:
        tables: the latest first.
        wanted: beginning of the id of the run that replaced it; None: the latest.
        target: for messages.

    Raises:
        errors.ConfigError: nothing is kept.
        errors.UsageError: none, or several, are meant.
    """
    if not tables:
        raise errors.ConfigError(
            f"no earlier table of {target} is kept",
            hint="write `keep_previous: 24h` in the transfer; it works from the next run on",
        )
    if wanted is None:
        return tables[0]
    meant = [one for one in tables if one.run_id.startswith(wanted.strip().lower())]
    if len(meant) == 1:
        return meant[0]
    ids = ", ".join(one.run_id for one in meant or tables)
    what = "several replaced tables are" if meant else "no replaced table is"
    raise errors.UsageError(
        f"{what} kept of a run that begins with {errors.shorten(wanted, 40)}",
        hint=f"choose one of {ids}",
    )


def _keepers(ledger_url: str, names: list[str]) -> dict[str, record.Record]:
    from tmg_etl.ledger import store

    ledger = store.peek(ledger_url)
    if ledger is None:
        return {}
    with ledger:
        return {str(run.previous_table): run for run in ledger.keepers(names)}
