"""The tasks as users type them: what is run, what is refused, what is said."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.package import image_kit, task_kit
from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.launch import environment

PROMISED = {
    "make-docker-image", "test-docker-local", "deploy-docker-image", "local-deploy-gke",
    "download-keys", "lint", "check", "test", "check-release", "versions", "promote",
    "prune-images", "delete-failed-container-image", "render", "run-gke", "backfill", "status",
    "logs", "cancel",
}  # fmt: skip
NAME = "europe-west1-docker.pkg.dev/acme-datalake/sid/sidpublisherjob"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> task_kit.Checkout:
    """A copy of the checkout; the tests change nothing in it but the PATH."""
    return task_kit.Checkout.make(tmp_path_factory.mktemp("tasks"))


@pytest.fixture
def checkout(copied: task_kit.Checkout) -> task_kit.Checkout:
    """The same with only git on the PATH."""
    for program in copied.programs.iterdir():
        if program.name != "git":
            program.unlink()
    copied.calls()
    return copied


def test_all_promised_tasks_have_one_line_of_help(checkout: task_kit.Checkout) -> None:
    listed = dict(
        re.findall(r"^  ([a-z-]+)   +(\S.*)$", checkout.invoke("--list").stdout, re.MULTILINE)
    )
    assert listed.keys() >= PROMISED
    assert all(line.endswith(".") for line in listed.values()), listed


def test_every_option_has_help() -> None:
    for name, shown in task_kit.helps().items():
        options = re.findall(r"^  (?:-\w(?: \w+)?, )?(--\S+)(.*)$", shown, re.MULTILINE)
        assert options, name
        assert all(len(text.split()) > 1 for _, text in options), shown


def test_no_option_has_one_letter_that_means_another_thing_in_another_task() -> None:
    for name, shown in task_kit.helps().items():
        assert not re.findall(r"^  -\w\b.*$", shown, re.MULTILINE), name


def test_the_image_is_built_with_what_its_labels_say(checkout: task_kit.Checkout) -> None:
    checkout.fake("docker")
    done = checkout.invoke("make-docker-image")
    assert done.returncode == 0, done.stderr
    git = ["git", "-C", str(checkout.root)]
    revision = image_kit.call([*git, "rev-parse", "HEAD"]).strip()
    [made] = checkout.calls()
    assert made[:4] == ["docker", "build", "--tag", f"{NAME}:{__version__}"]
    assert made[-1] == str(checkout.root)
    assert f"VERSION={__version__}" in made
    assert f"REVISION={revision}" in made
    assert any(re.fullmatch(r"CREATED=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", part) for part in made)


def test_engine_base_and_own_options_can_be_chosen(checkout: task_kit.Checkout) -> None:
    checkout.fake("docker", "podman")
    options = ["--engine=podman", "--base=python:3.13-slim", "--option=--pull", "--option=--squash"]
    assert checkout.invoke("make-docker-image", *options).returncode == 0
    [made] = checkout.calls()
    assert made[0] == "podman"
    assert {"BASE=python:3.13-slim", "--pull", "--squash"} <= set(made)


def test_the_first_engine_that_works_is_used(checkout: task_kit.Checkout) -> None:
    """A client without a daemon is installed, and builds nothing."""
    checkout.fake("docker", answer="sys.exit('Cannot connect to the Docker daemon')")
    checkout.fake("podman")
    assert checkout.invoke("make-docker-image").returncode == 0
    assert [call[:2] for call in checkout.calls()] == [
        ["docker", "info"], ["podman", "info"], ["podman", "build"],
    ]  # fmt: skip
    checkout.fake("podman", answer="sys.exit('cannot set up namespace')")
    done = checkout.invoke("make-docker-image")
    assert done.returncode == errors.EXIT_CONFIG
    assert done.stderr == (
        "error: no container engine works here: "
        "`docker info` ended with exit code 1: Cannot connect to the Docker daemon; "
        "`podman info` ended with exit code 1: cannot set up namespace; start one of them\n"
    )


def test_a_dry_run_shows_docker_where_there_is_no_engine(checkout: task_kit.Checkout) -> None:
    done = checkout.invoke("make-docker-image", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("docker build ")


def test_a_dry_run_prints_the_command_and_runs_nothing(checkout: task_kit.Checkout) -> None:
    checkout.fake("docker", "helm", "gcloud", "kubectl")
    for task in ("make-docker-image", "test-docker-local", "local-deploy-gke", "lint", "check",
                 "test", "check-release", "deploy-docker-image", "delete-failed-container-image",
                 "versions", "render", "status", "logs"):  # fmt: skip
        done = checkout.invoke(task, "--dry-run")
        assert done.returncode == 0, f"{task}: {done.stderr}"
        assert done.stdout.strip(), task
    assert checkout.calls() == []


@pytest.mark.parametrize(
    ("arguments", "shown", "has_gcloud"),
    [
        (["promote", "--version=1.4.0", "--env=prod"], "image.digest=<digest of 1.4.0>", True),
        (["local-deploy-gke", "--env=dev"], f"image.digest=<digest of {__version__}>", True),
        (["prune-images"], "would remove <all but the newest 5 that nothing runs", False),
    ],
)
def test_a_dry_run_needs_no_login(
    checkout: task_kit.Checkout, arguments: list[str], shown: str, has_gcloud: bool
) -> None:
    if has_gcloud:
        checkout.fake("gcloud", answer="sys.exit('ERROR: (gcloud)\\nto select an account to use.')")
    done = checkout.invoke(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    why = "nobody is logged in" if has_gcloud else "gcloud is not installed"
    assert done.stderr.startswith(f"not asked, so not known: {why}")
    assert done.stderr.count("\n") == 1
    # For real it stops, and says what to do.
    real = checkout.invoke(*arguments, *(["--yes"] if "local" in arguments[0] else []))
    assert real.returncode == (errors.EXIT_ACCESS if has_gcloud else errors.EXIT_CONFIG)
    assert ("gcloud auth login" if has_gcloud else "install it") in real.stderr


def test_the_image_is_tried_as_the_pod_runs_it(checkout: task_kit.Checkout) -> None:
    checkout.fake("docker")
    done = checkout.invoke("test-docker-local", "--test-execution-date", "20240131")
    assert done.returncode == 0, done.stderr
    [made] = checkout.calls()
    assert made[:3] == ["docker", "run", "--rm"]
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"} <= set(made)
    [user] = [part for part in made if part.startswith("--user=")]
    assert not user.startswith("--user=0")
    assert f"--volume={checkout.root}/examples/smoke:/srv:ro" in made
    assert made[-7:] == [
        f"{NAME}:{__version__}", "20240131", "planet", "truncate", "/srv/config.yaml",
        "--env", "local",
    ]  # fmt: skip


def test_keys_and_variables_are_passed_to_a_local_run_without_their_values(
    checkout: task_kit.Checkout,
) -> None:
    keys = checkout.root / "keyscredentials"
    listed = (keys / "download_list.txt").read_text()
    config = checkout.root / "examples" / "smoke" / "config.yaml"
    written = config.read_text()
    checkout.fake("docker")
    try:
        (keys / "download_list.txt").write_text("sid.json\nmysql_password\n")
        (keys / "sid.json").write_text("{}")
        config.write_text(written + '# "${MYSQL_PASSWORD}" "${UNSET:-x}"\n')
        done = checkout.invoke("test-docker-local", MYSQL_PASSWORD="hush", OTHER="not asked for")
    finally:
        (keys / "download_list.txt").write_text(listed)
        (keys / "sid.json").unlink()
        config.write_text(written)
    assert done.returncode == 0, done.stderr
    [made] = checkout.calls()
    assert f"--volume={keys}:/var/run/secrets/tmg_etl:ro" in made
    assert "--env=GOOGLE_APPLICATION_CREDENTIALS=/var/run/secrets/tmg_etl/sid.json" in made
    assert "--env=MYSQL_PASSWORD" in made
    assert not any("hush" in part or "OTHER" in part or "UNSET" in part for part in made)


def test_the_exit_code_of_the_run_is_the_task_s(checkout: task_kit.Checkout) -> None:
    checkout.fake("docker", answer="sys.exit(65)")
    done = checkout.invoke("test-docker-local")
    assert done.returncode == errors.EXIT_DATA
    assert done.stderr.strip() == (
        "error: `docker run` ended with exit code 65; what it printed says why"
    )


def test_local_deploy_installs_the_chart(checkout: task_kit.Checkout) -> None:
    checkout.fake("helm")
    assert checkout.invoke("local-deploy-gke").returncode == 0
    made, tried = checkout.calls()
    assert tried[:3] == ["helm", "test", "sidpublisherjob"]
    chart = str(checkout.root / "gke_deploy")
    assert made[:5] == ["helm", "upgrade", "--install", "sidpublisherjob", chart]
    assert f"{chart}/values-local.yaml" in made
    assert f"image.repository={NAME},image.tag={__version__}" in made
    assert not any("sqlProxy" in part for part in made)


def test_the_registry_is_asked_before_anything_is_deployed(checkout: task_kit.Checkout) -> None:
    checkout.fake("helm")
    done = checkout.invoke("local-deploy-gke", "--env", "dev", "--sql-proxy")
    assert done.returncode == errors.EXIT_CONFIG
    assert done.stderr.startswith("error: gcloud is not installed; install it: https://")
    assert checkout.calls() == []


def test_what_would_be_deployed_can_be_printed(checkout: task_kit.Checkout) -> None:
    checkout.fake("helm")
    copy = checkout.root / "examples" / "smoke" / "config.yaml"
    done = checkout.invoke("render", "--env", "prod", "--sql-proxy", f"--config={copy}")
    assert done.returncode == 0, done.stderr
    [made] = checkout.calls()
    assert made[:3] == ["helm", "template", "sidpublisherjob"]
    assert f"config.content={copy}" in made
    assert "config.location=gs://acme-sid-prod-config/sid/config.yaml" in made
    assert "--kube-context" not in made
    assert f"image.repository={NAME},image.tag={__version__}" in made
    assert "sqlProxy.enabled=true,sqlProxy.port=3306,sqlProxy.privateIp=true" in made


@pytest.mark.parametrize("env", ["dev", "val", "prod"])
def test_a_dry_run_says_that_the_config_is_read_first(
    checkout: task_kit.Checkout, env: str
) -> None:
    done = checkout.invoke("render", "--env", env, "--dry-run")
    assert done.returncode == 0, done.stderr
    copied, helm = done.stdout.splitlines()
    source = f"gs://acme-sid-{env}-config/sid/config.yaml"
    assert copied == f"gcloud storage cp {source} dist/config-{env}.yaml"
    assert f"config.content={checkout.root}/dist/config-{env}.yaml" in helm


def test_status_says_why_there_is_none(checkout: task_kit.Checkout) -> None:
    done = checkout.invoke("status")
    assert done.returncode == errors.EXIT_CONFIG
    assert "no cluster is configured as 'kind-sid'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("task", "program"),
    [
        ("make-docker-image", "docker"),
        ("test-docker-local", "docker"),
        ("deploy-docker-image", "docker"),
        ("local-deploy-gke", "helm"),
        ("versions", "gcloud"),
        ("delete-failed-container-image", "docker"),
    ],
)
def test_a_missing_program_is_one_line_that_says_where_to_get_it(
    checkout: task_kit.Checkout, task: str, program: str
) -> None:
    done = checkout.invoke(task)
    assert done.returncode == errors.EXIT_CONFIG
    assert re.fullmatch(
        rf"error: {program} is not installed; install it: https://\S+.*\n", done.stderr
    ), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test-docker-local", "--test-execution-date=2024-1-1"], "write it as YYYYMMDD"),
        (["test-docker-local", "--test-execution-date=20241332"], "write it as YYYYMMDD"),
        (["local-deploy-gke", "--env", "prd"], "did you mean `prod`?"),
        (["local-deploy-gke", "--sql-proxy"], "has no Cloud SQL proxy"),
        (["make-docker-image", "--engine", "rkt"], "one of docker, podman, buildah"),
        (["promote", "--version=1.0.0", "--env=dev"], "nothing is promoted to dev"),
        (["prune-images", "--keep=0"], "found --keep 0; give a whole number, 1 or more"),
        (["prune-images", "--keep=x"], "found --keep x; give a whole number, 1 or more"),
        (["run-gke", "--transfer=planet", "--write-mode=append"], "truncate or delta"),
        (["run-gke", "--transfer=planet"], "no cluster is configured as 'kind-sid'"),
        (["logs"], "no cluster is configured as 'kind-sid'"),
        (["cancel", "--job=x"], "no cluster is configured as 'kind-sid'"),
        (["backfill", "--transfer=moon", "--from=20240101", "--to=20240102"], "moon"),
        (["backfill", "--transfer=planet", "--from=2024", "--to=20240102"], "as YYYYMMDD"),
        (
            ["backfill", "--transfer=planet", "--from=20240101", "--to=20240102", "--local=x"],
            "found --local x; give a whole number",
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_runs_nothing(
    checkout: task_kit.Checkout, arguments: list[str], message: str
) -> None:
    checkout.fake("docker", "helm", "kubectl", "gcloud")
    done = checkout.invoke(*arguments)
    assert done.returncode in (errors.EXIT_USAGE, errors.EXIT_CONFIG)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert checkout.calls() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deploy-gke"], "error: No idea what 'deploy-gke' is!; see `invoke --list`"),
        (["render", "--enf=prod"], "No idea what '--enf"),
        (["promote", "--env=val"], "'promote' did not receive required positional arguments"),
        (["render", "--config=nope.yaml"], "found no file nope.yaml; give --config a copy"),
        (["render", "--env"], "needed value and was not given one"),
        (["local-deploy-gke", "--env=prod"], "promoted to prod: this would go past whoever"),
        (["local-deploy-gke", "--env=prodd"], "did you mean `prod`?"),
    ],
)
def test_a_call_that_makes_no_sense_ends_with_the_code_for_it(
    checkout: task_kit.Checkout, arguments: list[str], message: str
) -> None:
    done = checkout.invoke(*arguments)
    assert done.returncode == errors.EXIT_USAGE
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("is_back", [True, False])
def test_what_fails_in_the_cluster_is_put_back(checkout: task_kit.Checkout, is_back: bool) -> None:
    failing = ["test"] if is_back else ["test", "rollback"]
    checkout.fake("helm", answer=f"sys.exit(3 if sys.argv[1] in {failing} else 0)")
    done = checkout.invoke("local-deploy-gke")
    assert done.returncode == 3
    where = ["sidpublisherjob", "--namespace", "sid", "--kube-context", "kind-sid"]
    upgrade, *others = checkout.calls()
    assert "--atomic" in upgrade
    assert [call[1:7] for call in others] == [[verb, *where] for verb in ("test", "rollback")]
    said = "the revision before runs again" if is_back else "it could not be put back"
    assert said in done.stderr
    assert "kubectl --context kind-sid --namespace sid logs pod/sidpublisherjob-test" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ("registri: x", "environments.dev.registri", "did you mean `registry`?"),
        ("cluster: {name: a}", "environments.dev.cluster.location", "found no `location`"),
        ("sql_proxy: {instance: nonsense}", "environments.dev.sql_proxy.instance", "nonsense"),
    ],
)
def test_a_wrong_environments_file_is_one_line_with_its_place(
    tmp_path: pathlib.Path, change: str, place: str, message: str
) -> None:
    (tmp_path / "gke_deploy").mkdir()
    (tmp_path / environment.FILE).write_text(
        "image: job\nenvironments:\n  dev:\n    registry: host/sid\n    config: c.yaml\n"
        f"    {change}\n"
    )
    with pytest.raises(errors.ConfigError) as caught:
        environment.load(tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / environment.FILE}:6:{place}: ")
    assert message in line
