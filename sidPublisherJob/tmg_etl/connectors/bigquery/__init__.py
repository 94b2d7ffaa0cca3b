"""BigQuery: read by the Storage Read API or an extract job, loaded by load jobs.

Belongs here: everything that knows Google's BigQuery clients or GoogleSQL. Modules:

* `connection`: what the registry opens; queries and statements of hand-written pipelines
* `client`: the clients, jobs, their names, labels and cancellation
* `datatype`: BigQuery's types and Arrow's
"""

from tmg_etl.connectors.bigquery.connection import BigQueryConnection

__all__ = ["BigQueryConnection"]
