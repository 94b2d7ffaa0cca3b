"""A pipeline between whose load and proof somebody else writes into what was loaded."""

from __future__ import annotations

from tmg_etl.connectors import base, sql
from tmg_etl.transfer import pipeline


class Tampered(pipeline.TransferPipeline):
    """Runs the option ``change`` on the loaded table, ``{table}``."""

    def _load(self, name: str, window: base.CursorWindow | None) -> base.Fingerprint:
        sent = super()._load(name, window)
        assert isinstance(self.target, sql.SqlDialect)
        for change in self.run.transfer.options["changes"]:
            self.target.run(change.format(table=self.target.qualified(name)))
        return sent
