"""The page `docs/guarantees.md`, from the promises and from what the tests wrote down.

python -m tests.guarantee.page > ../docs/guarantees.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tests.guarantee import promise, record

_HEAD = """\
# Guarantees, and the tests that try to break them

Made by `python -m tests.guarantee.page > ../docs/guarantees.md` (inside sidPublisherJob) from the
table in `tests/guarantee/promise.py` and from what the tests wrote down in their last `--full` run,
which leaves no rerun out: nothing here is typed. A fault is one thing broken in one run: a kill, an
error, a cut connection, a changed cell, a broken file. It is survived if afterwards the target is
the old state or the new one by full comparison, the exit code says which, and the next run leaves
nothing behind.
"""


def render(found: Mapping[str, record.Tally]) -> str:
    """Return the page."""
    lines = [_HEAD]
    total = _sum(found, promise.tests())
    lines.append(
        f"In the last `--full` run {total.injected:,} faults were injected in {total.cases:,}"
        f" tests, and {total.survived:,} were survived ({total.day or 'never run'}).\n"
    )
    for title, promises in promise.PROMISES.items():
        lines.append(f"## {title}\n")
        lines.append("| promise | what is broken | proved by | injected | survived |")
        lines.append("| --- | --- | --- | ---: | ---: |")
        for made in promises:
            tally = _sum(found, made.tests)
            proofs = "<br>".join(map(_link, made.tests))
            lines.append(
                f"| {made.text} | {made.faults} | {proofs} | {tally.injected:,} |"
                f" {tally.survived:,} |"
            )
        lines.append("")
    return "\n".join(lines)


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    words = name.removeprefix("test_").replace("_", " ")
    return f"[{words}](../sidPublisherJob/{file})"


def _sum(found: Mapping[str, record.Tally], tests: set[str] | tuple[str, ...]) -> record.Tally:
    total = record.Tally()
    for test in tests:
        tally = found.get(test, record.Tally())
        total.cases += tally.cases
        total.injected += tally.injected
        total.survived += tally.survived
        total.day = max(total.day, tally.day)
    return total


if __name__ == "__main__":
    sys.stdout.write(render(record.read(record.PROJECT / ".pytest_cache" / "d" / record.FOLDER)))
