"""The pages name tasks that exist, with options that they have, and every task is on a page."""

from __future__ import annotations

import re
import subprocess

from tests.package import image_kit, task_kit

PAGES = ("README.md", "docs/deploy.md", "docs/image.md", "keyscredentials/README.md")
CALL = re.compile(r"(?:^|`)invoke ([a-z][a-z-]+)([^\n`#]*)", re.MULTILINE)


def run(*arguments: str) -> str:
    return subprocess.run(
        [str(task_kit.INVOKE), *arguments],
        cwd=image_kit.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_pages_and_tasks_agree() -> None:
    tasks = re.findall(r"^  ([a-z-]+)  ", run("--list"), re.MULTILINE)
    text = "\n".join((image_kit.ROOT / page).read_text() for page in PAGES)
    calls = CALL.findall(text)
    assert {name for name, _ in calls} == set(tasks)
    shown = {name: run("--help", name) for name in tasks}
    for name, arguments in calls:
        for option in re.findall(r"--[a-z][a-z-]*", arguments.split("--option=")[0]):
            assert re.search(rf"{option}\b", shown[name]), f"invoke {name} has no {option}"
