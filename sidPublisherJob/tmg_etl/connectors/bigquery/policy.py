"""Row access policies of a target, which a copy job removes without a word.

A table whose rows not everybody may see would be open to all its readers after a swap. Google's
client has no method for them.

Source: https://cloud.google.com/bigquery/docs/using-row-level-security-with-features#copy_jobs
"""

from __future__ import annotations

from typing import Any

from google.cloud import bigquery

from tmg_etl import errors
from tmg_etl.connectors.bigquery import client as client_module

_PERMISSION = "bigquery.rowAccessPolicies.list"


def swap_blockers(
    clients: client_module.Clients, table: bigquery.TableReference, subject: str
) -> tuple[str, ...]:
    """Return why a copy job may not replace a table: its row access policies, if it has any.

    Without the right to list them they cannot be ruled out, which is a reason as well.
    """
    try:
        names = _names(clients, table, subject)
    except errors.AccessError:
        return (f"its row access policies cannot be listed without {_PERMISSION}",)
    return tuple(f"a copy would remove its row access policy {name}" for name in names)


def require_none(
    clients: client_module.Clients, table: bigquery.TableReference, subject: str
) -> None:
    """Refuse a table that has got policies since it was described.

    Raises:
        errors.ConfigError: names them.
    """
    blockers = swap_blockers(clients, table, subject)
    if blockers:
        raise errors.ConfigError(
            f"{subject} cannot be swapped: {'; '.join(blockers)}",
            hint="write `publish: auto` or `publish: diff`",
        )


def _names(
    clients: client_module.Clients, table: bigquery.TableReference, subject: str
) -> list[str]:
    path = f"{table.path}/rowAccessPolicies"
    names: list[str] = []
    token = None
    while True:
        with clients.guarded(f"row access policies of {subject}"):
            found: dict[str, Any] = clients.retry(clients.rest._connection.api_request)(
                method="GET", path=path, query_params={"pageToken": token} if token else {}
            )
        names += [
            str(item["rowAccessPolicyReference"]["policyId"])
            for item in found.get("rowAccessPolicies", [])
        ]
        token = found.get("nextPageToken")
        if not token:
            return names
