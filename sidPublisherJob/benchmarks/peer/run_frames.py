"""pandas, polars, ADBC and DuckDB: Parquet into a database, each by its documented best way."""

import sys

import pyarrow.parquet as pq

tool, kind, url, parquet = sys.argv[1:]
sqlalchemy_url = url.replace("mysql://", "mysql+pymysql://").replace(
    "postgresql://", "postgresql+psycopg://"
)
if tool == "pandas":
    import sqlalchemy

    engine = sqlalchemy.create_engine(sqlalchemy_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS peer_orders")
        for batch in pq.ParquetFile(parquet).iter_batches(100_000):
            batch.to_pandas().to_sql(
                "peer_orders", connection, if_exists="append", index=False, chunksize=1_000,
                method="multi",
            )  # fmt: skip
elif tool == "polars":
    import polars

    polars.read_parquet(parquet).write_database(
        "peer_orders",
        url if kind == "postgres" else sqlalchemy_url,
        if_table_exists="replace",
        engine="adbc" if kind == "postgres" else "sqlalchemy",
    )
elif tool == "adbc":
    import adbc_driver_postgresql.dbapi

    file = pq.ParquetFile(parquet)
    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS peer_orders")
        import pyarrow as pa

        rows = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65536))
        cursor.adbc_ingest("peer_orders", rows, mode="create")
        cursor.execute("ALTER TABLE peer_orders ADD PRIMARY KEY (o_orderkey)")
        connection.commit()
elif tool == "duckdb":
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"INSTALL {kind}; LOAD {kind}; ATTACH '{url}' AS server (TYPE {kind})")
    connection.execute("DROP TABLE IF EXISTS server.peer_orders")
    connection.execute(f"CREATE TABLE server.peer_orders AS FROM '{parquet}'")
