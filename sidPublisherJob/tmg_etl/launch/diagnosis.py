"""Why a Job does not run, or did not succeed, and what to do about it. Pure: states in, words out.

The kinds are stable: alerts may match on them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
from collections.abc import Iterator, Sequence
from typing import Any

from tmg_etl import errors
from tmg_etl.launch import cluster, manifest

_OOM_EXIT = 137
_PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_CREATE = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

MEANINGS = {
    errors.EXIT_USAGE: ("usage: the arguments are wrong", "correct the command"),
    errors.EXIT_DATA: ("data: the target is unchanged", "correct the data or the rule"),
    errors.EXIT_BUG: ("an unexpected error: a bug", "the traceback is in the log"),
    errors.EXIT_TEMPORARY: ("temporary: a server was busy or away", "run it again later"),
    errors.EXIT_ACCESS: ("rights or credentials are missing", "grant them; see the log"),
    errors.EXIT_CONFIG: ("the configuration is wrong", "correct the file and deploy it"),
    errors.EXIT_SIGTERM: ("stopped in order by SIGTERM", "run it again"),
    errors.EXIT_SIGINT: ("stopped in order by SIGINT", "run it again"),
}
"""Exit code of the job → what it means, and what to do."""


class Kind(enum.StrEnum):
    """What stands in the way."""

    IMAGE_PULL = "ImagePull"
    CONTAINER_CONFIG = "ContainerConfig"
    UNSCHEDULABLE = "Unschedulable"
    OOM_KILLED = "OOMKilled"
    EVICTED = "Evicted"
    DEADLINE = "DeadlineExceeded"
    EXIT_CODE = "ExitCode"
    LOST = "Lost"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """One cause.

    Attributes:
        kind: for machines.
        detail: what was seen, in one line.
        remedy: what to do.
        exit_code: of the launcher.
        pod: name of the pod it was seen on; None for the Job itself.
    """

    kind: Kind
    detail: str
    remedy: str
    exit_code: int
    pod: str | None = None

    def __str__(self) -> str:
        """Return the line that is printed."""
        where = f"{self.pod}: " if self.pod else ""
        return errors.one_line(f"{self.kind}: {where}{self.detail}; {self.remedy}")


def condition(item: cluster.Object, kind: str) -> cluster.Object | None:
    """Return the condition of an object that holds, None where it does not."""
    for found in item.get("status", {}).get("conditions") or []:
        if found["type"] == kind and found["status"] == "True":
            return dict(found)
    return None


def waiting(pods: Sequence[cluster.Object]) -> Diagnosis | None:
    """Return why a pod cannot start; None where each one has started or still may.

    A pod that only waits for the cluster to grow is diagnosed too: it says what it waits for.
    """
    for pod in pods:
        if pod.get("status", {}).get("phase") != "Pending":
            continue
        found = _blocked(pod) or _unschedulable(pod)
        if found is not None:
            return found
    return None


def failed(job: cluster.Object, pods: Sequence[cluster.Object]) -> Diagnosis | None:
    """Return why a Job failed; None where it has not.

    Args:
        job: a Job; only its condition `Failed` decides.
        pods: its pods, the oldest first; the cause is looked for in the latest.
    """
    end = condition(job, "Failed")
    if end is None:
        return None
    ended = [found for pod in reversed(pods) if (found := _ended(pod)) is not None]
    if end.get("reason") == "DeadlineExceeded":
        stuck = waiting(pods)
        if stuck is not None:
            return stuck
        limit = job["spec"].get("activeDeadlineSeconds")
        return Diagnosis(
            Kind.DEADLINE,
            f"the Job ran longer than its {limit} s",
            "raise job.activeDeadlineSeconds, or look for what hangs in the log",
            errors.EXIT_TEMPORARY,
        )
    if ended:
        return ended[0]
    return Diagnosis(
        Kind.LOST,
        f"the Job failed ({end.get('reason', 'no reason')}: {end.get('message', '')}) "
        "and its pods are gone",
        "look in Cloud Logging, by the name of the Job",
        errors.EXIT_BUG,
    )


def ended(pod: cluster.Object) -> Diagnosis | None:
    """Return why a pod did not succeed; None where it did, or has not ended."""
    return _ended(pod)


def _blocked(pod: cluster.Object) -> Diagnosis | None:
    for state in _states(pod):
        reason = state.get("state", {}).get("waiting", {})
        image = state.get("image", "the image")
        said = errors.shorten(reason.get("message", reason.get("reason", "")), 200)
        if reason.get("reason") in _PULL:
            return Diagnosis(
                Kind.IMAGE_PULL,
                f"{image} cannot be pulled: {said}",
                "`invoke versions` lists what the registry has; may the nodes read it?",
                errors.EXIT_CONFIG,
                pod["metadata"]["name"],
            )
        if reason.get("reason") in _CREATE:
            return Diagnosis(
                Kind.CONTAINER_CONFIG,
                f"the container cannot be created: {said}",
                "a Secret or ConfigMap that the chart's values name is missing",
                errors.EXIT_CONFIG,
                pod["metadata"]["name"],
            )
    return None


def _unschedulable(pod: cluster.Object) -> Diagnosis | None:
    for found in pod["status"].get("conditions") or []:
        if (found["type"], found["status"]) == ("PodScheduled", "False"):
            return Diagnosis(
                Kind.UNSCHEDULABLE,
                f"no node takes it: {errors.shorten(found.get('message', ''), 200)}",
                "lower the chart's resources, or give the cluster larger nodes",
                errors.EXIT_TEMPORARY,
                pod["metadata"]["name"],
            )
    return None


def _ended(pod: cluster.Object) -> Diagnosis | None:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if status.get("phase") == "Succeeded":
        return None
    for state in _states(pod):
        end = state.get("state", {}).get("terminated") or {}
        # Also with exit code 0: the kernel may have killed a child of the process.
        if end.get("reason") == "OOMKilled":
            limit = _memory_limit(pod, state["name"])
            return Diagnosis(
                Kind.OOM_KILLED,
                f"{state['name']} used more memory than its limit of {limit}",
                "raise resources.limits.memory, or lower batch_rows in the config",
                int(end.get("exitCode") or _OOM_EXIT),
                name,
            )
    disruption = condition(pod, "DisruptionTarget")
    if status.get("reason") == "Evicted" or disruption is not None:
        said = status.get("message") or (disruption or {}).get("message", "")
        return Diagnosis(
            Kind.EVICTED,
            f"the node gave it up: {errors.shorten(said, 200)}",
            "the Job starts it again; if it is for storage, raise the limit of ephemeral-storage",
            errors.EXIT_TEMPORARY,
            name,
        )
    for state in _states(pod):
        end = state.get("state", {}).get("terminated") or {}
        if state["name"] == manifest.CONTAINER and end.get("exitCode"):
            return _exit_code(int(end["exitCode"]), end, name)
    return None


def _exit_code(code: int, end: dict[str, Any], pod: str) -> Diagnosis:
    meaning, remedy = MEANINGS.get(code, ("not one of ours", "look at the end of the log"))
    # The log's last line, which the kubelet keeps: it says why, also when the log is gone.
    lines = [line for line in str(end.get("message") or "").splitlines() if line.strip()]
    said = _message(lines[-1]) if lines else None
    last = f": {errors.shorten(said, 300)}" if said else ""
    return Diagnosis(Kind.EXIT_CODE, f"exit code {code}, {meaning}{last}", remedy, code, pod)


def _message(line: str) -> str | None:
    """Return what a line of the log says; None for a JSON line whose beginning was cut off.

    The kubelet keeps the last 2,048 bytes.
    """
    if not line.endswith("}"):
        return line
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(line)["message"])
    return None


def _states(pod: cluster.Object) -> Iterator[cluster.Object]:
    status = pod.get("status", {})
    yield from status.get("containerStatuses") or []
    yield from status.get("initContainerStatuses") or []


def _memory_limit(pod: cluster.Object, container: str) -> str:
    spec = pod["spec"]
    for item in [*spec["containers"], *spec.get("initContainers", [])]:
        if item["name"] == container:
            return str(item.get("resources", {}).get("limits", {}).get("memory", "no limit"))
    return "unknown"
