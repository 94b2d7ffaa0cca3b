"""Testing kit for people who write pipelines and connectors.

What belongs here: help for tests that need the real thing: throw-away database servers, faults at
every statement of a run, the conformance suite of connectors, assertions about a whole pipeline.
It is shipped with the package, imported by tests only and never by any other part of `tmg_etl`.
I/O is allowed. Database drivers are imported inside functions, so that a project that tests
against one system needs the driver of that one only.
"""

from tmg_etl.testing.check import (
    assert_crash_safe,
    assert_equal,
    assert_idempotent,
    run_pipeline,
)
from tmg_etl.testing.flaw import assert_fault_safe

__all__ = [
    "assert_crash_safe",
    "assert_equal",
    "assert_fault_safe",
    "assert_idempotent",
    "run_pipeline",
]
