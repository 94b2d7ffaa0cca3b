"""A pipeline for the tests of the command: does what its transfer's `options` say."""

import logging
import time
import warnings

import tmg_etl
from tmg_etl import errors

FAILURES = {
    "data": errors.DataError("the data is bad", hint="correct it"),
    "temporary": errors.LockBusyError("sample", 1.5, "run x"),
    "access": errors.AccessError("no rights"),
    "config": errors.ConfigError("the config is bad"),
    "bug": ZeroDivisionError("a bug at mysql://me:geheim@db/x"),
}


class Sample(tmg_etl.TMGETL):
    """Counts rows through all phases.

    Its options: `rows` in `batches` that take `batch_s` seconds each; `fail` names one of
    `FAILURES`; `cleanup` true fails the cleanup; `say` is logged as a warning.
    """

    def pre_execution_cleansing(self) -> None:
        """Nothing is left by earlier runs."""

    def pipeline(self) -> None:
        """Count, and do what the options say."""
        options = self.run.transfer.options
        rows, batches = options.get("rows", 1000), options.get("batches", 4)
        if text := options.get("say"):
            self.logger.warning("said: %s", text)
            logging.getLogger("some.client").error("a client said: %s", text)
            warnings.warn(f"warned of {text}", UserWarning, stacklevel=1)
        with self.run.phase(tmg_etl.Phase.READ, rows):
            for _ in range(batches):
                self.run.stop.check()
                time.sleep(options.get("batch_s", 0.001))
                self.run.progress.advance(tmg_etl.Phase.READ, rows // batches)
        if name := options.get("fail"):
            raise FAILURES[name]
        with self.run.phase(tmg_etl.Phase.PUBLISH):
            time.sleep(options.get("publish_s", 0))
        fingerprint = f"{rows:,} rows 0x00000000000000ff"
        self.result = tmg_etl.Result(
            rows_read=rows,
            rows_inserted=rows,
            rows_updated=0,
            publish="swap",
            publish_reason="the sample says so",
            fingerprint_source=fingerprint,
            fingerprint_target=fingerprint,
        )

    def post_execution_cleanup(self) -> None:
        """Fail if the options say so."""
        if self.run.transfer.options.get("cleanup"):
            raise OSError("the cleanup is stuck")
