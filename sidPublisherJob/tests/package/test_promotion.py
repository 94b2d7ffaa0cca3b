"""From a build to production: pushed once, promoted by digest, old versions removed.

The registry is Docker's own, the buckets are served by an emulator of Cloud Storage. `docker` is
buildah under that name; `helm` and `kubectl` write down how they are called.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from tests.package import image_kit, registry_kit, task_kit
from tmg_etl import errors
from tmg_etl.__version__ import __version__
from tmg_etl.launch import bucket, chart, image, registry, wheel

CONFIG = (
    "transfers: {planet: {schedule: '17 4 * * *'}}\nenvironments: {dev: {}, val: {}, prod: {}}\n"
)
BUCKETS = {env: f"acme-sid-{env}-wheels" for env in ("dev", "val", "prod")}
OLD = [f"0.0.{number}" for number in range(1, 8)]
DOCKER = """
os.environ["PATH"] = {path!r}
asked = sys.argv[1:]
if asked[0] == "push":
    asked.insert(1, "--tls-verify=false")
if asked[:2] == ["image", "inspect"]:
    import subprocess
    inspect = {buildah!r} + ["inspect", "--type=image", asked[2]]
    found = json.loads(subprocess.check_output(inspect))
    print(json.dumps([{{"Config": found["OCIv1"]["config"]}}]))
    sys.exit()
os.execv({buildah!r}[0], {buildah!r} + asked)
"""
HELM = """
if sys.argv[1] == "history":
    if "gke_acme-sid-dev_europe-west1_sid-dev" not in sys.argv:
        sys.exit("Error: release: not found")
    print('[{{"revision": 6}}, {{"revision": 7}}]')
else:
    image = {{"repository": {repository!r}}}
    image |= {{"digest": {digest!r}}} if sys.argv[5] == "6" else {{"tag": "0.0.7"}}
    print(json.dumps({{"image": image}}))
"""


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@pytest.fixture(scope="module")
def checkout(
    builder: image_kit.Builder, tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch
) -> Iterator[task_kit.Checkout]:
    """A copy of the checkout whose registry and buckets are on this machine."""
    made = task_kit.Checkout.make(tmp_path_factory.mktemp("promotion"))
    folder = tmp_path_factory.mktemp("registry")
    configs = [f"acme-sid-{env}-config" for env in BUCKETS]
    with (
        registry_kit.registry(folder) as host,
        registry_kit.storage(patch, *BUCKETS.values(), *configs),
    ):
        for name in configs[:2]:
            assert bucket.write_new(f"gs://{name}/sid/config.yaml", CONFIG.encode())
        made.change_environments({"registry": f"{host}/sid"})
        made.fake(
            "docker", answer=DOCKER.format(path=os.environ["PATH"], buildah=builder.command())
        )
        made.fake("helm")
        (made.root / image.ID_FILE).parent.mkdir()
        labels = {"version": __version__, "revision": made.commit()}
        options = [f"--label=org.opencontainers.image.{key}={labels[key]}" for key in labels]
        options.append(f"--iidfile={made.root / image.ID_FILE}")
        for number in (*OLD, __version__):
            (folder / "content").write_text(number)
            (folder / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
            name = f"{host}/sid/sidpublisherjob:{number}"
            with builder.locked():
                builder.buildah("build", "--layers=false", *options, "--tag", name, folder)
                if number in OLD:
                    builder.buildah("push", "--tls-verify=false", name)
        # The name goes to another build: what is pushed is the one that was made here.
        with builder.locked():
            builder.buildah("tag", f"{host}/sid/sidpublisherjob:{OLD[0]}", name)
        yield made
        for number in (*OLD, __version__):
            builder.buildah("rmi", f"{host}/sid/sidpublisherjob:{number}")


@pytest.fixture(scope="module")
def pushed(checkout: task_kit.Checkout) -> subprocess.CompletedProcess[str]:
    """This version, pushed."""
    return checkout.invoke("deploy-docker-image")


def wheel_url(env: str, number: str) -> str:
    return f"gs://{BUCKETS[env]}/sidpublisherjob/{wheel.file_name(number)}"


def repository(checkout: task_kit.Checkout) -> registry.Repository:
    return registry.Repository.parse(image.name(checkout.root, "dev"))


def test_a_version_is_pushed_once_with_its_wheel(
    checkout: task_kit.Checkout, pushed: subprocess.CompletedProcess[str]
) -> None:
    assert pushed.returncode == 0, pushed.stderr
    pinned = repository(checkout).resolve(__version__)
    file = wheel.file_name(__version__)
    url = f"gs://{BUCKETS['dev']}/sidpublisherjob/{file}"
    charted = f"oci://{chart.repository(checkout.root, 'dev')}:{__version__}"
    assert pushed.stdout.split()[-4:-1] == [pinned, charted, url]
    assert (checkout.root / "dist" / "image.txt").read_text() == f"{pinned}\n"
    assert bucket.read(url) == (checkout.root / "dist" / file).read_bytes()


@pytest.mark.usefixtures("pushed")
def test_the_image_that_was_built_here_is_pushed_whatever_has_its_name(
    checkout: task_kit.Checkout,
) -> None:
    known = repository(checkout)
    assert known.digest(__version__) != known.digest(OLD[0])


@pytest.mark.usefixtures("pushed")
def test_a_version_is_never_overwritten(checkout: task_kit.Checkout) -> None:
    before = repository(checkout).digest(__version__)
    checkout.calls()
    done = checkout.invoke("deploy-docker-image")
    assert done.returncode == errors.EXIT_USAGE
    assert f":{__version__} is already in the registry as {before}" in done.stderr
    assert "raise the one in tmg_etl/__version__.py" in done.stderr
    assert "push" not in {call[1] for call in checkout.calls()}
    assert repository(checkout).digest(__version__) == before


@pytest.mark.parametrize(
    ("files", "is_committed", "message"),
    [
        (["README.md"], False, "the checkout has changes that are not committed; commit or undo"),
        (["sidPublisherJob/tmg_etl/new.py"], False, "changes that are not committed"),
        (["README.md"], True, "is of revision {built}, the checkout of {head}; build it again"),
        (
            ["sidPublisherJob/tmg_etl/__version__.py"],
            True,
            f"is of version {__version__}, the checkout of 9.9.9; build it again",
        ),
        (["dist/image.id"], True, "docker has no image that was built here; build it again"),
    ],
)
@pytest.mark.usefixtures("pushed")
def test_what_is_not_this_commit_is_not_pushed(
    checkout: task_kit.Checkout, files: list[str], is_committed: bool, message: str
) -> None:
    built = checkout.git("rev-parse", "HEAD")
    kept = {name: (checkout.root / name).read_text() for name in files if "new" not in name}
    try:
        for name in files:
            (checkout.root / name).write_text('__version__ = "9.9.9"\n')
        head = checkout.commit() if is_committed else ""
        checkout.calls()
        done = checkout.invoke("deploy-docker-image")
    finally:
        checkout.git("reset", "--quiet", "--hard", built)
        checkout.git("clean", "--quiet", "--force")
        for name, text in kept.items():
            (checkout.root / name).write_text(text)
    assert done.returncode == errors.EXIT_USAGE
    assert message.format(built=built, head=head) in done.stderr
    assert done.stderr.count("\n") == 1
    assert "push" not in {call[1] for call in checkout.calls()}


@pytest.mark.usefixtures("pushed")
def test_nor_is_a_wheel(checkout: task_kit.Checkout) -> None:
    """One commit gives one wheel, which may be sent again; another one may not."""
    url = wheel.upload(checkout.root, "dev")
    assert url is not None
    before = bucket.read(url)
    assert before == (checkout.root / "dist" / wheel.file_name(__version__)).read_bytes()
    source = checkout.root / "sidPublisherJob" / "tmg_etl" / "py.typed"
    source.write_text("changed")
    try:
        with pytest.raises(errors.UsageError, match="is there already, with another content"):
            wheel.upload(checkout.root, "dev")
    finally:
        source.write_text("")
    assert bucket.read(url) == before


def test_an_image_has_the_list_of_its_packages_beside_it(
    checkout: task_kit.Checkout, pushed: subprocess.CompletedProcess[str]
) -> None:
    known = repository(checkout)
    subject = known.digest(__version__)
    assert subject is not None
    [listed] = known.attached(subject)
    assert pushed.stdout.split()[-1] == f"{known}@{listed['digest']}"
    assert listed["artifactType"] == "application/vnd.cyclonedx+json"
    # Attached again, it is the same one.
    assert checkout.invoke("attach-sbom").stdout.split() == [f"{known}@{listed['digest']}"]
    assert known.attached(subject) == [listed]
    shown = json.loads(checkout.invoke("show-sbom", "--version", __version__).stdout)
    assert shown == json.loads(checkout.invoke("show-sbom").stdout)
    assert (shown["bomFormat"], shown["specVersion"]) == ("CycloneDX", "1.6")
    lock = (checkout.root / "sidPublisherJob" / "requirements.txt").read_text()
    pins = re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;\\]+)", lock, re.MULTILINE)
    assert [(one["name"], one["version"]) for one in shown["components"]] == pins
    [numpy, _] = [one for one in shown["components"] if one["name"] == "numpy"]
    assert numpy["purl"].startswith("pkg:pypi/numpy@")
    assert (numpy["scope"], len(numpy["properties"])) == ("optional", 1)
    without = checkout.invoke("show-sbom", "--version", OLD[0])
    assert without.returncode == errors.EXIT_USAGE
    assert f"version {OLD[0]} has no list of its packages" in without.stderr


@pytest.mark.usefixtures("pushed")
def test_what_was_pushed_is_signed_by_its_digest(checkout: task_kit.Checkout) -> None:
    checkout.fake("cosign")
    checkout.calls()
    assert checkout.invoke("sign").returncode == 0
    pinned = repository(checkout).resolve(__version__)
    file = checkout.root / "dist" / "sbom.json"
    assert checkout.calls() == [
        ["cosign", "sign", "--yes", pinned],
        ["cosign", "attest", "--yes", "--type", "cyclonedx", "--predicate", str(file), pinned],
    ]
    assert json.loads(file.read_text())["bomFormat"] == "CycloneDX"


@pytest.mark.usefixtures("pushed")
def test_versions_are_listed(checkout: task_kit.Checkout) -> None:
    done = checkout.invoke("versions")
    assert done.stdout.split() == [__version__, *reversed(OLD)]


@pytest.mark.usefixtures("pushed")
def test_a_version_is_deployed_by_digest(checkout: task_kit.Checkout) -> None:
    done = checkout.invoke("local-deploy-gke", "--env", "dev", "--sql-proxy")
    assert done.returncode == 0, done.stderr
    made, tried = checkout.calls()
    assert tried[:3] == ["helm", "test", "sidpublisherjob"]
    pinned = repository(checkout).resolve(__version__)
    name, digest = pinned.split("@")
    assert f"image.repository={name},image.digest={digest}" in made
    assert made[made.index("--kube-context") + 1] == "gke_acme-sid-dev_europe-west1_sid-dev"
    assert "sqlProxy.instance=acme-sid-dev:europe-west1:serving" in made
    assert "config.location=gs://acme-sid-dev-config/sid/config.yaml" in made
    # The chart is told the schedules too.
    copy = checkout.root / "dist" / "config-dev.yaml"
    assert f"config.content={copy}" in made
    assert copy.read_text() == CONFIG


@pytest.mark.parametrize("task", [["render"], ["promote", f"--version={__version__}"]])
@pytest.mark.usefixtures("pushed")
def test_without_its_config_nothing_is_deployed(
    checkout: task_kit.Checkout, task: list[str]
) -> None:
    done = checkout.invoke(*task, "--env", "prod")
    assert done.returncode == errors.EXIT_CONFIG
    assert "gs://acme-sid-prod-config/sid/config.yaml" in done.stderr
    assert done.stderr.count("\n") == 1
    assert checkout.calls() == []


@pytest.mark.usefixtures("pushed")
def test_promotion_takes_the_same_image_and_wheel(checkout: task_kit.Checkout) -> None:
    done = checkout.invoke("promote", "--version", __version__, "--env", "val")
    assert done.returncode == 0, done.stderr
    made, tried = checkout.calls()
    assert tried[:3] == ["helm", "test", "sidpublisherjob"]
    assert f"image.digest={repository(checkout).digest(__version__)}" in " ".join(made)
    assert str(checkout.root / "gke_deploy" / "values-val.yaml") in made
    # Not the checkout's chart, which has moved on since: the one that was pushed with the image.
    assert made[4].endswith(f"/sidpublisherjob-{__version__}.tgz")
    place = f"sidpublisherjob/{wheel.file_name(__version__)}"
    promoted = bucket.read(f"gs://{BUCKETS['val']}/{place}")
    assert promoted == bucket.read(f"gs://{BUCKETS['dev']}/{place}")


@pytest.mark.usefixtures("pushed")
def test_a_wheel_is_copied_only_when_helm_has_succeeded(checkout: task_kit.Checkout) -> None:
    config = "gs://acme-sid-prod-config/sid/config.yaml"
    assert bucket.write_new(config, CONFIG.encode())
    checkout.fake("helm", answer="sys.exit('UPGRADE FAILED: timed out')")
    done = checkout.invoke("promote", f"--version={__version__}", "--env=prod")
    bucket.delete(config)
    checkout.fake("helm")
    checkout.calls()
    assert done.returncode == 1
    assert "UPGRADE FAILED" in done.stderr
    assert wheel.versions(f"gs://{BUCKETS['prod']}/sidpublisherjob") == []


@pytest.mark.usefixtures("pushed")
def test_a_version_that_is_not_there_fails_and_changes_nothing(
    checkout: task_kit.Checkout,
) -> None:
    done = checkout.invoke("promote", "--version", "9.9.9", "--env", "prod")
    assert done.returncode == errors.EXIT_USAGE
    assert "version 9.9.9 is not in " in done.stderr
    assert f"versions there: {__version__}, {OLD[-1]}" in done.stderr
    assert checkout.calls() == []
    assert wheel.versions(f"gs://{BUCKETS['prod']}/sidpublisherjob") == []


@pytest.mark.usefixtures("pushed")
def test_a_version_is_promoted_with_its_own_chart(
    checkout: task_kit.Checkout, tmp_path: pathlib.Path
) -> None:
    """Whatever the chart of the checkout has become since."""
    kept = tmp_path / "kept.tgz"
    copy = f"import shutil\nif sys.argv[1] == 'upgrade': shutil.copy(sys.argv[4], {str(kept)!r})"
    checkout.fake("helm", answer=copy)
    cronjob = checkout.root / "gke_deploy" / "templates" / "cronjob.yaml"
    before = cronjob.read_text()
    cronjob.write_text("{{ fail `the chart of a later version` }}")
    try:
        done = checkout.invoke("promote", "--version", __version__, "--env", "val")
        again = checkout.invoke("promote", "--version", __version__, "--env", "val", "--dry-run")
    finally:
        cronjob.write_text(before)
        checkout.fake("helm")
    assert done.returncode == 0, done.stderr
    with tarfile.open(kept) as packed:
        about = packed.extractfile("sidpublisherjob/Chart.yaml")
        template = packed.extractfile("sidpublisherjob/templates/cronjob.yaml")
        assert about is not None
        assert template is not None
        assert f'version: "{__version__}"\nappVersion: "{__version__}"\n' in about.read().decode()
        assert template.read().decode() == before
        assert not [name for name in packed.getnames() if "environments" in name or "prod" in name]
    place = chart.repository(checkout.root, "val")
    assert f" oci://{place}@{place.digest(__version__)} " in again.stdout


@pytest.mark.usefixtures("pushed")
def test_a_version_without_a_chart_is_not_promoted(checkout: task_kit.Checkout) -> None:
    checkout.calls()
    done = checkout.invoke("promote", "--version", OLD[1], "--env", "prod")
    assert done.returncode == errors.EXIT_USAGE
    assert f"version {OLD[1]} has no chart in " in done.stderr
    assert "deploy it from its own checkout" in done.stderr
    assert checkout.calls() == []


def test_a_chart_is_never_overwritten(
    checkout: task_kit.Checkout, pushed: subprocess.CompletedProcess[str]
) -> None:
    assert pushed.returncode == 0
    assert chart.push(checkout.root, "dev").endswith(f":{__version__}")
    values = checkout.root / "gke_deploy" / "values.yaml"
    before = values.read_text()
    values.write_text(f"{before}# changed\n")
    try:
        with pytest.raises(errors.UsageError, match="already in the registry, with another"):
            chart.push(checkout.root, "dev")
    finally:
        values.write_text(before)


@pytest.mark.usefixtures("pushed")
def test_a_wheel_that_is_not_there_fails_before_the_deployment(
    checkout: task_kit.Checkout,
) -> None:
    layer = chart.package(checkout.root)
    made = registry.manifest(layer, layer)
    chart.repository(checkout.root, "prod").write(OLD[0], made, layer)
    done = checkout.invoke("promote", "--version", OLD[0], "--env", "prod")
    assert done.returncode == errors.EXIT_USAGE
    assert f"version {OLD[0]} is not in gs://{BUCKETS['dev']}/sidpublisherjob" in done.stderr
    assert checkout.calls() == []


@pytest.mark.usefixtures("pushed")
def test_nothing_is_removed_while_a_cluster_cannot_be_asked(checkout: task_kit.Checkout) -> None:
    checkout.fake("kubectl", answer="sys.exit('Unable to connect to the server: i/o timeout')")
    done = checkout.invoke("prune-images", "--keep", "5")
    assert done.returncode == 1
    assert "Unable to connect to the server" in done.stderr
    assert len(repository(checkout).versions()) == 8


@pytest.mark.usefixtures("pushed")
def test_the_newest_and_what_runs_and_what_helm_may_put_back_stay(
    checkout: task_kit.Checkout,
) -> None:
    known = repository(checkout)
    # A CronJob runs the first; Helm may go back to the second; a third was pushed with a chart.
    pod = {"spec": {"containers": [{"name": "etl", "image": known.resolve(OLD[0])}]}}
    answer = json.dumps({"items": [{"kind": "CronJob", "spec": {"template": pod}}]})
    checkout.fake("kubectl", answer=f"print({answer!r})")
    checkout.fake("helm", answer=HELM.format(digest=known.digest(OLD[1]), repository=str(known)))
    doomed, empty = known.digest(OLD[3]), registry.Blob("application/vnd.oci.empty.v1+json", b"{}")
    assert doomed is not None
    subject, _ = known.read(doomed)
    made = registry.manifest(empty, empty, artifactType="x/y", subject=subject.descriptor)
    known.attach(doomed, made, empty)
    for env in BUCKETS:
        for number in ("0.0.0", *OLD):
            assert bucket.write_new(wheel_url(env, number), b"wheel")
    layer = chart.package(checkout.root)
    charts = chart.repository(checkout.root, "dev")
    charts.write(OLD[2], registry.manifest(layer, layer), layer)
    checkout.calls()
    planned = checkout.invoke("prune-images", "--keep", "4", "--dry-run")
    assert [line for line in planned.stdout.splitlines() if line.startswith("would")] == [
        "would remove 0.0.4",
        "would remove 0.0.3",
    ]
    assert len(known.versions()) == 8
    assert charts.digest(OLD[2])
    calls = checkout.calls()
    asked = {call[2] for call in calls if call[0] == "kubectl"}
    assert asked == {f"gke_acme-sid-{env}_europe-west1_sid-{env}" for env in BUCKETS}
    assert {call[2] for call in calls if call[1] == "history"} == {"sidpublisherjob"}
    done = checkout.invoke("prune-images", "--keep", "4")
    assert done.stdout.splitlines() == ["removed 0.0.4", "removed 0.0.3"], done.stderr
    left = [__version__, "0.0.7", "0.0.6", "0.0.5", OLD[1], OLD[0]]
    assert known.versions() == left
    assert charts.digest(OLD[2]) is None
    assert known.attached(doomed) == []
    assert known.digest(made.digest) is None
    assert charts.digest(__version__)
    # Each environment's, also those whose image went before.
    for env, there in (("dev", left), ("val", left), ("prod", left[1:])):
        assert wheel.versions(f"gs://{BUCKETS[env]}/sidpublisherjob") == there


@pytest.mark.usefixtures("pushed")
def test_wheels_go_like_images(checkout: task_kit.Checkout) -> None:
    folder = f"gs://{BUCKETS['dev']}/another"
    for number in ("0.0.1", __version__):
        assert bucket.write_new(f"{folder}/{wheel.file_name(number)}", b"old")
    assert wheel.versions(folder) == [__version__, "0.0.1"]
    wheel.prune(folder, ["0.0.1"], dry_run=False)
    assert wheel.versions(folder) == [__version__]
