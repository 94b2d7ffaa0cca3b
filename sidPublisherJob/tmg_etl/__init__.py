"""`tmg_etl`: pipelines that publish tables from a data lake into serving databases, and prove it.

Here are the public names and nothing else. Importing the package imports no database client.
"""

from tmg_etl import errors
from tmg_etl.etl import TMGETL
from tmg_etl.run import Outcome, Phase, Result, Run, Status, Window, WriteMode

__all__ = [
    "TMGETL",
    "Outcome",
    "Phase",
    "Result",
    "Run",
    "Status",
    "Window",
    "WriteMode",
    "errors",
]
