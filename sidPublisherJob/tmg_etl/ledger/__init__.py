"""The ledger: one row for each run, in any database that SQLAlchemy speaks.

Belongs here: the table of runs, its migrations, writing and reading rows, telling which `running`
rows are dead. The network is used; the config's file is not.

Not here: how runs are shown (`tmg_etl.cli`), what a run does. May import `tmg_etl.run` and
`tmg_etl.errors`; never a connector. A run writes its row by the database's driver. SQLAlchemy is
imported to read rows, and for databases and URLs that `session` does not know; Alembic only when
tables are out of date. Both cost start-up time that every Pod pays.

`recorder.LedgerRecorder` is what a run writes through, by `writer.Writer`; `store.Ledger` is what
`tmg-etl runs` reads.
"""
