"""Whether a run would publish again what the last one published (`skip_unchanged: true`).

In doubt it would not: the run is done. What others write to the target meanwhile is not seen; that
it is there and has its columns is.
"""

from __future__ import annotations

from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.connectors import base
from tmg_etl.transfer import mapping


def since(
    run: run_module.Run,
    recorder: run_module.Recorder,
    source: base.Source,
    target: base.Table | None,
    columns: mapping.Mapping,
) -> str | None:
    """Return the id of the run whose rows the target holds; None: publish.

    Args:
        run: what is about to be done.
        recorder: asked for the last run on the same target.
        source: opened at its snapshot.
        target: what is known of it; one that is missing, empty or lacks an index is published.
        columns: of the run.
    """
    if not run.transfer.skip_unchanged:
        return None
    version = source.version
    if version is None:
        run.warn(
            f"{source.description} does not tell whether it changed: `skip_unchanged` has no effect"
        )
        return None
    if target is None or target.row_estimate == 0 or columns.is_new or len(columns.added):
        return None
    if any(index.name not in target.indexes for index in run.transfer.indexes):
        return None
    try:
        return recorder.published(run, version)
    except errors.TmgEtlError as lost:
        run.warn(f"the last run is not known, so nothing is skipped: {lost}")
        return None
