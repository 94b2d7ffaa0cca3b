"""Load the flights' Parquet files into BigQuery, as a lake to publish from.

    python fill_lake.py PARQUET_FOLDER PROJECT DATASET

`flights` is partitioned by day and clustered, so that a delta reads only its days. A second call
replaces the tables. With BIGQUERY_EMULATOR_HOST set, an emulator is filled.
"""

import os
import pathlib
import sys

import google.auth.credentials
from google.cloud import bigquery

TABLES = ("airlines", "airports", "planes", "flights")


def client(project: str) -> bigquery.Client:
    """Return a client with the machine's login, or with none for an emulator."""
    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        nobody = google.auth.credentials.AnonymousCredentials()
        return bigquery.Client(project=project, credentials=nobody)
    return bigquery.Client(project=project)


def fill(lake: bigquery.Client, dataset: str, name: str, files: list[pathlib.Path]) -> int:
    """Replace a table by the rows of some files and return how many it holds."""
    table = f"{lake.project}.{dataset}.{name}"
    config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
    if name == "flights":
        config.time_partitioning = bigquery.TimePartitioning(field="flight_date")
        config.clustering_fields = ["carrier", "origin"]
    config.write_disposition = bigquery.WriteDisposition.WRITE_TRUNCATE
    for file in files:
        with file.open("rb") as content:
            lake.load_table_from_file(content, table, job_config=config).result()
        config.write_disposition = bigquery.WriteDisposition.WRITE_APPEND
    return int(lake.get_table(table).num_rows)


def main(folder: str, project: str, dataset: str) -> None:
    """Fill every table."""
    lake = client(project)
    lake.create_dataset(dataset, exists_ok=True)
    for name in TABLES:
        place = pathlib.Path(folder) / name
        files = sorted(place.iterdir()) if place.is_dir() else [place.with_suffix(".parquet")]
        print(f"{dataset}.{name}: {fill(lake, dataset, name, files):,} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
