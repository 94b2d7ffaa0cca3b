"""Proof: the fingerprint of what a database holds, against that of what was sent."""

from __future__ import annotations

import contextlib
from typing import Literal

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base
from tmg_etl.transfer import encode, flow

Level = Literal["fingerprint", "count", "off"]


def prove(
    target: base.Target,
    name: str,
    schema: pa.Schema,
    selection: base.Selection,
    level: Level,
) -> base.Fingerprint:
    """Return the fingerprint of rows in a table, as the database holds them now.

    Args:
        target: opened.
        name: the target or a table beside it.
        schema: the columns to hash, in the order they were sent.
        selection: which rows.
        level: "count" counts only; "off" is not asked for.
    """
    hashes = level == "fingerprint"
    if not hashes or target.capabilities.proof is base.Proof.DATABASE:
        return target.fingerprint(name, schema.names, selection, hashes=hashes)
    encoder = encode.Encoder(schema, target.capabilities.text, hashes=True)
    batches = target.scan(name, schema.names, selection)
    with contextlib.ExitStack() as stack:
        # On a session not in another thread: a stop would cancel what the cleanup does there.
        if target.capabilities.scans_ahead:
            batches = stack.enter_context(contextlib.closing(flow.prefetched(batches)))
        for batch in batches:
            encoder.add(batch)
    return encoder.fingerprint


def require_equal(table: str, sent: base.Fingerprint, held: base.Fingerprint) -> None:
    """Raise unless the database holds what was sent.

    Raises:
        errors.VerificationError: it does not; the caller must not publish.
    """
    if sent.rows != held.rows or (
        sent.hash is not None and held.hash is not None and sent.hash != held.hash
    ):
        raise errors.VerificationError(table, expected=sent, found=held)
