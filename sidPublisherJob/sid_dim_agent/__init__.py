"""This job's own pipelines: what a declared transfer cannot say.

Belongs here: business logic, in classes without I/O, and one `TMGETL` subclass for each table that
needs it. Does not belong here: anything that another job could use (that is `tmg_etl`).
"""
