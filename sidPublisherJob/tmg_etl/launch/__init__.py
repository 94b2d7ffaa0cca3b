"""Bringing the job to where it runs: images, environments, Helm, Kubernetes Jobs, back-fills.

Belongs here: what the Invoke tasks and `tmg-etl status` call. Network and other people's programs
(docker, helm, kubectl, gcloud) are used here; each is started through `command`.

Not here: publishing tables (`tmg_etl.transfer`), command lines (`tmg_etl.cli`, `tasks.py`). May
import `tmg_etl.config` and what lies below it, and the ledger; `kubernetes` in `cluster` only, when
one is opened. Nothing here is imported when a transfer runs: in a pod, `pod` works out the days of
the run and then becomes the command `pipeline`.
"""
