"""The conformance suites: what every connector must do, as pytest classes to subclass.

What belongs here: behaviour that holds for every source or every target, and the profiles by which
a connector's author makes the suites run. A connector is done when its classes pass. What is
written is read back by the profile, with the system's own driver and never by the connector under
test. What belongs to one system only stays in that connector's own tests. I/O is allowed; no
database driver is imported here.

    from tmg_etl.testing import conformance

    class MyPlace(conformance.SqlPlace):
        traits = conformance.Traits(gaps=frozenset({"nul"}))
        ...  # how to execute, query and list tables by the raw driver

    @pytest.fixture(scope="module")
    def target_place(): ...  # yields a MyPlace

    class TestRows(conformance.RowConformance):
        profile = MyPlace

    ...  # and one class for each of conformance.TARGET, of DELTA, and of GROUP
"""

import pytest

_SUITES = (
    "alteration",
    "delta",
    "failure",
    "group",
    "pair",
    "publication",
    "replace",
    "row",
    "schema",
    "server",
    "source",
    "suite",
    "upsert",
    "value",
)
# Must come before the suites are imported: their asserts then show both sides when they fail.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _SUITES))

from tmg_etl.testing.conformance.alteration import AlterationConformance  # noqa: E402
from tmg_etl.testing.conformance.failure import (  # noqa: E402
    FailureConformance,
    RefusalConformance,
)
from tmg_etl.testing.conformance.group import GroupConformance  # noqa: E402
from tmg_etl.testing.conformance.origin import Native, Origin, SqlOrigin  # noqa: E402
from tmg_etl.testing.conformance.profile import (  # noqa: E402
    SqlPlace,
    TargetPlace,
    Traits,
)
from tmg_etl.testing.conformance.replace import (  # noqa: E402
    NoDeltaConformance,
    ReplaceWindowConformance,
)
from tmg_etl.testing.conformance.row import RowConformance  # noqa: E402
from tmg_etl.testing.conformance.sample import Document  # noqa: E402
from tmg_etl.testing.conformance.schema import SchemaConformance  # noqa: E402
from tmg_etl.testing.conformance.server import Kept, ServerConformance, ServerPlace  # noqa: E402
from tmg_etl.testing.conformance.source import (  # noqa: E402
    ServerSourceConformance,
    SnapshotConformance,
    SourceConformance,
)
from tmg_etl.testing.conformance.upsert import UpsertConformance  # noqa: E402
from tmg_etl.testing.conformance.value import ValueConformance  # noqa: E402

#: What every target must pass.
TARGET = (
    ValueConformance,
    RowConformance,
    SchemaConformance,
    FailureConformance,
    RefusalConformance,
)
#: What a target must pass that can merge; one that cannot passes `NoDeltaConformance`.
DELTA = (UpsertConformance, ReplaceWindowConformance)
#: What a target must pass that can publish several tables in one step.
GROUP = (GroupConformance, AlterationConformance)
#: What a target on a server must pass as well.
SERVER = (ServerConformance,)
#: What every source must pass; those of databases `SnapshotConformance` too, those of servers
#: `ServerSourceConformance` as well.
SOURCE = (SourceConformance,)

__all__ = [
    "DELTA",
    "GROUP",
    "SERVER",
    "SOURCE",
    "TARGET",
    "AlterationConformance",
    "Document",
    "FailureConformance",
    "GroupConformance",
    "Kept",
    "Native",
    "NoDeltaConformance",
    "Origin",
    "RefusalConformance",
    "ReplaceWindowConformance",
    "RowConformance",
    "SchemaConformance",
    "ServerConformance",
    "ServerPlace",
    "ServerSourceConformance",
    "SnapshotConformance",
    "SourceConformance",
    "SqlOrigin",
    "SqlPlace",
    "TargetPlace",
    "Traits",
    "UpsertConformance",
    "ValueConformance",
]
