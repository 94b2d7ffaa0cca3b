"""Pod states as kubelets write them, and what is said about each."""

from __future__ import annotations

import pytest

from tests.launch import api_kit
from tmg_etl import errors
from tmg_etl.launch import diagnosis

Kind = diagnosis.Kind
FAILED = {
    "metadata": {"name": "j"},
    "spec": {"activeDeadlineSeconds": 60},
    "status": {"conditions": [api_kit.condition("Failed", "BackoffLimitExceeded")]},
}
LATE = {**FAILED, "status": {"conditions": [api_kit.condition("Failed", "DeadlineExceeded")]}}


def pod(**more: object) -> api_kit.Object:
    return api_kit.pod("j-x", "j", **more)  # type: ignore[arg-type]


def ended(code: int, reason: str | None = None, message: str = "") -> api_kit.Object:
    return pod(phase="Failed", state=api_kit.terminated(code, reason, message))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (64, "usage"),
        (65, "data"),
        (70, "bug"),
        (75, "temporary"),
        (77, "credentials"),
        (78, "configuration"),
        (143, "SIGTERM"),
        (1, "not one of ours"),
    ],
)
def test_an_exit_code_is_told_with_its_meaning_and_the_logs_last_line(
    code: int, words: str
) -> None:
    found = diagnosis.failed(FAILED, [ended(code, message="first\npipeline: error: why\n")])
    assert found is not None
    assert (found.kind, found.exit_code, found.pod) == (Kind.EXIT_CODE, code, "j-x")
    assert words in str(found)
    assert "pipeline: error: why" in str(found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"severity": "ERROR", "message": "pipeline: error: why", "exit_code": 78}', "why"),
        ('rity": "ERROR", "message": "pipeline: error: why", "exit_code": 78}', None),
        ('{"severity": "ERROR"}', None),
    ],
)
def test_of_a_json_log_the_message_is_told(line: str, said: str | None) -> None:
    found = diagnosis.failed(FAILED, [ended(78, message=f"{line}\n")])
    assert found is not None
    assert "severity" not in str(found)
    assert ("pipeline: error: why" in str(found)) is (said is not None)


def test_out_of_memory_names_the_limit_also_with_exit_code_0() -> None:
    for code in (137, 0):
        killed = pod(
            phase="Failed",
            state=api_kit.terminated(code, "OOMKilled"),
            limits={"memory": "1Gi"},
        )
        found = diagnosis.failed(FAILED, [killed])
        assert found is not None
        assert (found.kind, found.exit_code) == (Kind.OOM_KILLED, 137)
        assert "limit of 1Gi" in str(found)
        assert "resources.limits.memory" in found.remedy


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"]
)
def test_a_bad_image_is_named(reason: str) -> None:
    stuck = pod(phase="Pending", state=api_kit.waiting(reason, "manifest unknown"))
    found = diagnosis.waiting([stuck])
    assert found is not None
    assert (found.kind, found.exit_code) == (Kind.IMAGE_PULL, errors.EXIT_CONFIG)
    assert "r/sid:1" in found.detail
    assert "manifest unknown" in found.detail


def test_a_bad_image_of_the_sidecar_is_named_too() -> None:
    stuck = pod(phase="Pending", sidecar=api_kit.waiting("ErrImagePull"))
    assert diagnosis.waiting([stuck]) is not None


def test_a_missing_secret_is_named() -> None:
    text = 'secret "keys" not found'
    stuck = pod(phase="Pending", state=api_kit.waiting("CreateContainerConfigError", text))
    found = diagnosis.waiting([stuck])
    assert found is not None
    assert found.kind is Kind.CONTAINER_CONFIG
    assert "keys" in found.detail


def test_a_pod_that_no_node_takes_is_told_with_the_schedulers_words() -> None:
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }
    found = diagnosis.waiting([pod(phase="Pending", conditions=[unscheduled])])
    assert found is not None
    assert (found.kind, found.exit_code) == (Kind.UNSCHEDULABLE, errors.EXIT_TEMPORARY)
    assert "Insufficient memory" in found.detail


def test_a_pod_that_starts_is_not_diagnosed() -> None:
    creating = pod(phase="Pending", state=api_kit.waiting("ContainerCreating"))
    assert diagnosis.waiting([creating, pod(state=api_kit.running())]) is None


@pytest.mark.parametrize(
    "status",
    [
        {"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."},
        {"conditions": [api_kit.condition("DisruptionTarget", "EvictionByEvictionAPI")]},
    ],
)
def test_an_eviction_is_told_before_the_exit_code(status: api_kit.Object) -> None:
    found = diagnosis.failed(FAILED, [pod(phase="Failed", state=api_kit.terminated(143), **status)])
    assert found is not None
    assert (found.kind, found.exit_code) == (Kind.EVICTED, errors.EXIT_TEMPORARY)


def test_a_deadline_is_told_with_its_length() -> None:
    found = diagnosis.failed(LATE, [ended(143)])
    assert found is not None
    assert (found.kind, found.exit_code) == (Kind.DEADLINE, errors.EXIT_TEMPORARY)
    assert "60 s" in found.detail


def test_a_deadline_that_a_bad_image_used_up_is_told_as_the_image() -> None:
    stuck = pod(phase="Pending", state=api_kit.waiting("ImagePullBackOff"))
    found = diagnosis.failed(LATE, [stuck])
    assert found is not None
    assert found.kind is Kind.IMAGE_PULL


def test_the_latest_pod_decides() -> None:
    found = diagnosis.failed(FAILED, [ended(75), ended(78)])
    assert found is not None
    assert found.exit_code == 78


def test_a_sidecar_that_was_ended_is_no_cause() -> None:
    proxied = pod(phase="Failed", state=api_kit.terminated(65), sidecar=api_kit.terminated(143))
    found = diagnosis.failed(FAILED, [proxied])
    assert found is not None
    assert found.exit_code == 65


def test_a_failed_job_without_pods_says_where_to_look() -> None:
    found = diagnosis.failed(FAILED, [])
    assert found is not None
    assert (found.kind, found.exit_code) == (Kind.LOST, errors.EXIT_BUG)


def test_counters_decide_nothing() -> None:
    retried = {**FAILED, "status": {"failed": 2, "active": 1}}
    assert diagnosis.failed(retried, [ended(75)]) is None
