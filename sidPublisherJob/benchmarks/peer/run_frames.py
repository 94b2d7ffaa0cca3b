"""pandas, polars and ADBC: Parquet into a database, each by its documented best way."""

import sys

import pyarrow.parquet as pq

tool, kind, url, parquet, table = sys.argv[1:]
sqlalchemy_url = url.replace("mysql://", "mysql+pymysql://").replace(
    "postgresql://", "postgresql+psycopg://"
)
if tool == "pandas":
    import sqlalchemy

    engine = sqlalchemy.create_engine(sqlalchemy_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        for batch in pq.ParquetFile(parquet).iter_batches(100_000):
            batch.to_pandas().to_sql(
                table, connection, if_exists="append", index=False, chunksize=1_000,
                method="multi",
            )  # fmt: skip
elif tool == "polars":
    import polars

    polars.read_parquet(parquet).write_database(
        table,
        url if kind == "postgres" else sqlalchemy_url,
        if_table_exists="replace",
        engine="adbc" if kind == "postgres" else "sqlalchemy",
    )
elif tool == "adbc":
    import adbc_driver_postgresql.dbapi

    file = pq.ParquetFile(parquet)
    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table}")
        import pyarrow as pa

        rows = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65536))
        cursor.adbc_ingest(table, rows, mode="create")
        cursor.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (o_orderkey)")
        connection.commit()
