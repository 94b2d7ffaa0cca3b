"""Run by Alembic: migrates over the connection that `tmg_etl.ledger.migration` hands in."""

from alembic import context

from tmg_etl.ledger import model, table

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=model.METADATA,
    version_table=table.VERSION,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
