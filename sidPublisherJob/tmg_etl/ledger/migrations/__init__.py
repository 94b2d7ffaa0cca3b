"""Alembic's environment for the ledger: `env.py`, a template, and one file for each revision.

Only `tmg_etl.ledger.migration` runs it. Revisions are numbers of four digits, in order.
"""
