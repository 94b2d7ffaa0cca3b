"""The two commands: `pipeline`, which processes call, and `tmg-etl`, which people call.

Belongs here: arguments, exit codes, log lines, the live display, the summary and every other text
that is printed. Does not belong here: what a run does (`tmg_etl.transfer`) and what a config means
(`tmg_etl.config`).

Start-up is part of the interface: until the arguments are parsed, only click and the standard
library are imported, so that help and usage errors answer at once. What needs more imports it
inside the function that needs it. Results go to stdout through `output`, all else to stderr
through `guard` and `feedback`.
"""
