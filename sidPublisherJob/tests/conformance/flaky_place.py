"""Any place or origin, behind a flaky connection without faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Behind:
    """Comes before the class whose connection stands behind the flaky one."""

    @property
    def connection(self) -> Mapping[str, Any]:
        return {"type": "flaky", "of": "behind"}

    @property
    def others(self) -> Mapping[str, Mapping[str, Any]]:
        found: Any = super()
        return {"behind": found.connection}
