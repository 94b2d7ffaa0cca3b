"""dlt: Parquet into a database, by its Arrow path and the fastest loader it documents."""

import sys
import urllib.parse

import dlt
import pyarrow as pa
import pyarrow.parquet as pq

TEXT = {pa.string_view(): pa.string()}
kind, url, parquet, folder, table, how = sys.argv[1:]
UPSERT = "upsert" if kind == "postgres" else "delete-insert"
DISPOSITIONS = {
    "replace": "replace",
    "merge": {"disposition": "merge", "strategy": UPSERT},
    "mirror": {"disposition": "merge", "strategy": "cdc", "skip_unchanged_rows": True},
}


@dlt.resource(name=table, primary_key="o_orderkey", write_disposition=DISPOSITIONS[how])
def rows():
    for batch in pq.ParquetFile(parquet).iter_batches(100_000):
        rows = pa.Table.from_batches([batch])
        # It knows no string views.
        yield rows.cast(pa.schema([(f.name, TEXT.get(f.type, f.type)) for f in rows.schema]))


if kind != "postgres":
    destination = dlt.destinations.sqlalchemy(url.replace("mysql://", "mysql+pymysql://"))
    name = urllib.parse.urlsplit(url).path.strip("/")
    options = {}
else:
    destination = dlt.destinations.postgres(url)
    name, options = "public", {"loader_file_format": "csv"}
pipeline = dlt.pipeline("bench", destination=destination, dataset_name=name, pipelines_dir=folder)
pipeline.run(rows(), **options).raise_on_failed_jobs()
