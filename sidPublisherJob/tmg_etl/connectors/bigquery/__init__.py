"""BigQuery: read by the Storage Read API or an extract job, loaded by load jobs.

Belongs here: everything that knows Google's BigQuery clients or GoogleSQL. Modules:

* `connection`: what the registry opens; queries and statements of hand-written pipelines
* `client`: the clients, jobs, their names, labels and cancellation
* `datatype`: BigQuery's types and Arrow's; `conform`: arrays of the one to those of the other
* `relation`: a table as it is found, and the instant at which it is read
* `query`, `parameter`: queries, what they cost, the table of their result
* `window`: the rows of some days, so that partitions are skipped
* `read`, `extract`: rows by streams of storage, or by files in the staging bucket
* `origin`, `source`: the above behind `base.Source`
* the others: how a table is written, see `target`

=================== ======================= ========================================================
BigQuery            Arrow type              note
=================== ======================= ========================================================
BOOL                bool
INT64               int64
FLOAT64             float64
NUMERIC             decimal128(38, 9)       NUMERIC(p, s): decimal128(p, s)
BIGNUMERIC          decimal256(76, 38)      BIGNUMERIC(p, s): decimal128 or decimal256(p, s)
STRING, GEOGRAPHY   string                  WKT
BYTES               binary
DATE                date32
TIME                time64[us]
DATETIME            timestamp[us]
TIMESTAMP           timestamp[us, UTC]
JSON                JSON
INTERVAL            string                  BigQuery's own notation
ARRAY<T>            list<T>                 never null
STRUCT<…>           struct<…>
RANGE<T>            struct<start, end>      null: no bound
=================== ======================= ========================================================
"""

from tmg_etl.connectors.bigquery.connection import BigQueryConnection

__all__ = ["BigQueryConnection"]
