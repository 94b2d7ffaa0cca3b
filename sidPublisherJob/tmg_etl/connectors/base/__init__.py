"""The interface between transfers and systems: `Connection`, `Source`, `Target`, and their values.

Arrow record batches flow between them. A connector is written against these pages, beginning with
`source` and `target`, and proved by the conformance suite in `tmg_etl.testing`. Whoever uses them
imports this package and writes `base.Target`. No I/O here, no driver, no other connector.
"""

from tmg_etl.connectors.base.capability import Capabilities, Ingest, Proof
from tmg_etl.connectors.base.connection import Connection, Owner
from tmg_etl.connectors.base.field import (
    hidden_field,
    is_hidden,
    is_json,
    is_padded,
    is_rewritten_json,
    is_uncarried,
    is_unseen,
    is_uuid,
    json_field,
    padded_field,
    rewritten_json,
    uncarried_field,
    unseen_field,
    uuid_field,
)
from tmg_etl.connectors.base.proof import (
    HASH_MASK,
    LONG_TEXT_BYTES,
    Digest,
    Fingerprint,
    FloatStyle,
    TextFormat,
)
from tmg_etl.connectors.base.publication import Changes, Intent, Part, Readiness
from tmg_etl.connectors.base.selection import Buckets, CursorWindow, Selection
from tmg_etl.connectors.base.source import Source
from tmg_etl.connectors.base.table import Batch, Check, Column, ForeignKey, Index, Table
from tmg_etl.connectors.base.target import Exchange, Target

__all__ = [
    "HASH_MASK",
    "LONG_TEXT_BYTES",
    "Batch",
    "Buckets",
    "Capabilities",
    "Changes",
    "Check",
    "Column",
    "Connection",
    "CursorWindow",
    "Digest",
    "Exchange",
    "Fingerprint",
    "FloatStyle",
    "ForeignKey",
    "Index",
    "Ingest",
    "Intent",
    "Owner",
    "Part",
    "Proof",
    "Readiness",
    "Selection",
    "Source",
    "Table",
    "Target",
    "TextFormat",
    "hidden_field",
    "is_hidden",
    "is_json",
    "is_padded",
    "is_rewritten_json",
    "is_uncarried",
    "is_unseen",
    "is_uuid",
    "json_field",
    "padded_field",
    "rewritten_json",
    "uncarried_field",
    "unseen_field",
    "uuid_field",
]
