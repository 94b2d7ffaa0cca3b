"""The pages name tasks that exist, with options that they have, and every task is on a page."""

from __future__ import annotations

import re

from tests.package import image_kit, task_kit

PAGES = ("README.md", "docs/deploy.md", "docs/image.md", "keyscredentials/README.md")
CALL = re.compile(r"(?:^|`)invoke ([a-z][a-z-]+)([^\n`#]*)", re.MULTILINE)


def test_pages_and_tasks_agree() -> None:
    text = "\n".join((image_kit.ROOT / page).read_text() for page in PAGES)
    calls = CALL.findall(text)
    assert {name for name, _ in calls} == task_kit.helps().keys()
    for name, arguments in calls:
        for option in re.findall(r"--[a-z][a-z-]*", arguments.split("--option=")[0]):
            assert re.search(rf"{option}\b", task_kit.helps()[name]), (
                f"invoke {name} has no {option}"
            )
