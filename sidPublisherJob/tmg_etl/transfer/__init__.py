"""Transfers: what a declared movement of a table does, in which order, and how it proves it.

Belongs here: planning, encoding Arrow batches as text and fingerprints, staging, publishing,
verification, and `TransferPipeline`, which puts them together. Does not belong here: the SQL of a
database (that is its connector), and anything that prints.
"""
