"""Testing kit for people who write pipelines and connectors.

What belongs here: help for tests that need the real thing, such as throw-away database servers.
It is shipped with the package, imported by tests only and never by any other part of `tmg_etl`.
I/O is allowed. Database drivers are imported inside functions, so that a project that tests
against one system needs the driver of that one only.
"""
