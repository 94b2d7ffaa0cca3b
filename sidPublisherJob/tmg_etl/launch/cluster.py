"""A Kubernetes namespace: Jobs, pods and their logs. The one door to the API.

Objects are plain dictionaries as the API writes them: what the installed client's models do not
know is kept. The client is imported when a cluster is opened.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tmg_etl import errors

if TYPE_CHECKING:
    from kubernetes.client import api_client

Object = dict[str, Any]

JOB = "batch.kubernetes.io/job-name"
"""The label by which Kubernetes marks the pods of a Job."""

_CONNECT_S, _READ_S = 10, 60
_PAGE = 500  # objects at a time, as kubectl asks for them
# A log that says nothing for so long is asked for again: proxies cut such streams without a word.
_LOG_READ_S = 120


class NotFoundError(errors.ConfigError):
    """The cluster has no such object."""


class ExistsError(errors.TemporaryError):
    """The cluster has an object of that name already."""


def of_job(name: str) -> str:
    """Return the labels of a Job's pods."""
    return f"{JOB}={name}"


def connect(context: str | None, namespace: str) -> Cluster:
    """Return the namespace of a cluster that kubectl knows, or the one this pod runs in.

    Args:
        context: kubectl's; None means its current one.
        namespace: where the release is.

    Raises:
        errors.ConfigError: the client is not installed, or kubectl knows no such cluster.
    """
    try:
        from kubernetes import config
        from kubernetes.client import api_client
    except ImportError:
        raise errors.ConfigError(
            "the package kubernetes is not installed",
            hint="pip install 'sidPublisherJob[deploy]'",
        ) from None
    # Named, because the client reads the variable only once, when it is imported.
    file = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        client = config.new_client_from_config(file, context)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        if context is None:
            with contextlib.suppress(config.ConfigException):
                config.load_incluster_config()  # type: ignore[no-untyped-call]
                return Cluster(api_client.ApiClient(), namespace)
        raise errors.ConfigError(
            f"no cluster is configured{f' as {context!r}' if context else ''}: {error}",
            hint="see `kubectl config get-contexts`, or "
            "`gcloud container clusters get-credentials`",
        ) from None
    # The client's own retries hide for minutes that nobody answers.
    client.configuration.retries = False
    return Cluster(api_client.ApiClient(client.configuration), namespace)


class Cluster:
    """One namespace of one cluster.

    Args:
        client: the official client's connection.
        namespace: of all objects.
    """

    def __init__(self, client: api_client.ApiClient, namespace: str) -> None:
        from kubernetes.client import BatchV1Api, CoreV1Api

        self.namespace = namespace
        self._client = client
        self._batch = BatchV1Api(client)
        self._core = CoreV1Api(client)

    def cronjobs(self, selector: str) -> list[Object]:
        """Return the CronJobs with these labels, by name."""
        return self._list(self._batch.list_namespaced_cron_job, selector)

    def jobs(self, selector: str) -> list[Object]:
        """Return the Jobs with these labels, by name."""
        return self._list(self._batch.list_namespaced_job, selector)

    def pods(self, selector: str, *, with_succeeded: bool = True) -> list[Object]:
        """Return the pods with these labels, the oldest first.

        Args:
            selector: labels; those of a Job are `of_job`.
            with_succeeded: also those that have succeeded; of a back-fill they are most.
        """
        more = {} if with_succeeded else {"field_selector": "status.phase!=Succeeded"}
        found = self._list(self._core.list_namespaced_pod, selector, **more)
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def job(self, name: str) -> Object:
        """Return a Job.

        Raises:
            NotFoundError: there is none.
        """
        return self._call(self._batch.read_namespaced_job, name, self.namespace)

    def create_job(self, body: Object) -> Object:
        """Create a Job and return it.

        Raises:
            ExistsError: there is one of that name.
            NotFoundError: there is no such namespace.
        """
        return self._call(self._batch.create_namespaced_job, self.namespace, body)

    def delete_job(self, name: str) -> None:
        """Have a Job and its pods ended and removed; the pods go first, after their grace period.

        Raises:
            NotFoundError: there is none.
        """
        self._call(
            self._batch.delete_namespaced_job,
            name,
            self.namespace,
            propagation_policy="Foreground",
        )

    def check_namespace(self) -> None:
        """Do nothing where the namespace exists, or where we may not know.

        Raises:
            errors.ConfigError: there is none.
        """
        try:
            self._call(self._core.read_namespace, self.namespace)
        except NotFoundError:
            raise errors.ConfigError(
                f"the cluster has no namespace {self.namespace!r}",
                hint=f"kubectl create namespace {self.namespace}, then deploy",
            ) from None
        except errors.AccessError:
            return

    def log(self, pod: str, container: str, since_s: int | None) -> Iterator[str]:
        """Yield the lines of a container, each with its timestamp in front, until the stream ends.

        The end of the stream is not the end of the container: the API ends streams for its own
        reasons.

        Args:
            pod: its name.
            container: its name.
            since_s: only lines of the last so many seconds; None: all.

        Raises:
            errors.TmgEtlError: as every call.
        """
        options: Object = {} if since_s is None else {"since_seconds": since_s}
        from urllib3 import exceptions

        with _translated(f"the log of {pod}"):
            response: Any = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                follow=True,
                timestamps=True,
                _preload_content=False,
                _request_timeout=(_CONNECT_S, _LOG_READ_S),
                **options,
            )
            try:
                rest = b""
                for chunk in response.stream(amt=65536, decode_content=False):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from (line.decode("utf-8", "replace") for line in lines)
                if rest:
                    yield rest.decode("utf-8", "replace")
            except exceptions.ReadTimeoutError:
                return  # Nothing was said for a while: the caller asks again.
            finally:
                response.close()

    def _list(self, call: Any, selector: str, **options: str) -> list[Object]:
        found: list[Object] = []
        page = ""
        while True:
            more = {"_continue": page} if page else {}
            listed = self._call(
                call, self.namespace, label_selector=selector, limit=_PAGE, **options, **more
            )
            found += listed["items"]
            page = listed["metadata"].get("continue") or ""
            if not page:
                return sorted(found, key=lambda item: str(item["metadata"]["name"]))

    def _call(self, call: Any, *arguments: Any, **options: Any) -> Object:
        what = call.__name__.replace("_namespaced", "").replace("_", " ")
        with _translated(what):
            response = call(
                *arguments,
                **options,
                _preload_content=False,
                _request_timeout=(_CONNECT_S, _READ_S),
            )
            found: Object = json.loads(response.data)
            return found


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise what the API answers as our errors."""
    import urllib3
    from kubernetes.client import exceptions

    try:
        yield
    except exceptions.ApiException as error:
        raise _explain(what, error.status, _message(error)) from None
    except urllib3.exceptions.HTTPError as error:
        raise errors.ConnectionLostError(
            f"the cluster cannot be reached to {what}: {type(error).__name__}",
            hint="see `kubectl cluster-info`",
        ) from error


def _explain(what: str, status: int | None, message: str) -> errors.TmgEtlError:
    match status:
        case 404:
            return NotFoundError(f"{what}: {message}")
        case 409:
            return ExistsError(f"{what}: {message}")
        case 401 | 403:
            hint = (
                "log in again: gcloud auth login"
                if status == 401
                else "ask for the role that allows it in the namespace: gke_deploy/roles.yaml"
            )
            return errors.AccessError(f"{what}: {message}", hint=hint)
        case 400 | 422:
            return errors.ConfigError(f"{what}: {message}")
        case _:
            return errors.TemporaryError(f"{what}: the API answered {status}: {message}")


def _message(error: Any) -> str:
    """Return what the API says in its Status object, or the reason phrase."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return errors.shorten(str(json.loads(error.body)["message"]), 300).strip("'\"")
    with contextlib.suppress(KeyError):
        return str(error.reason)
    return "no reason given"
