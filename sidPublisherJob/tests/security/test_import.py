"""A config imports from the packages that it lists, and a class only; YAML makes plain values."""

from __future__ import annotations

import ast
import pathlib
import sys

import pytest

from tmg_etl import errors
from tmg_etl.config import loader
from tmg_etl.transfer import runner

PACKAGE = pathlib.Path(errors.__file__).parent
CONFIG = """\
connections: {{lake: {{type: files, url: lake/}}}}
transfers:
  dim:
    source: {{connection: lake, table: rows}}
    target: {{connection: lake, table: t}}
    pipeline: {path!r}
"""


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "subprocess:Popen",
        "sid_dim_agent:__builtins__",
        "sid_dim_agent.agent:os.system",
        "sid_dim_agent.__builtins__:exec",
        "sid_dim_agent.agent:pipeline",
        "sid_dim_agent.agent:__class__",
        "sid_dim_agent.agent.os:system",
        "sid_dim_agent.._os:system",
        ".agent:AgentPipeline",
        "..os:system",
        "sid_dim_agent/../../evil:X",
        "sid_dim_agent.agent:AgentPipeline()",
        "sid_dim_agent.agent:AgentPipeline; import os",
        "sid_dim_agent_evil:X",
        "sid_dim_agentx.y:X",
        "tmg_etl.transfer.pipeline:TransferPipeline",
        "SID_DIM_AGENT.agent:AgentPipeline",
        "sid_dim_agent.evil:X",
        "__main__:X",
        "builtins:exec",
    ],
)
def test_a_pipeline_outside_the_packages_is_not_imported(
    path: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("evil", "sid_dim_agent_evil", "sid_dim_agentx"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(path=path))
    before = set(sys.modules)
    with pytest.raises(errors.ConfigError):
        _load_class(config)
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not new & {"evil", "sid_dim_agent_evil", "sid_dim_agentx", "subprocess"}


def _load_class(config: pathlib.Path) -> None:
    loaded = loader.load(str(config))
    runner.load_class(loaded.transfer("dim"), loaded.packages)


def test_nothing_unpickles_evaluates_or_builds_objects_of_yaml() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    calls = {"eval", "exec", "compile"}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {name.name.partition(".")[0] for name in node.names} & forbidden, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in forbidden, path
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in calls, f"{path}:{node.lineno}"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                is_yaml = node.value.id == "yaml"
                assert not (is_yaml and node.attr in _BUILDERS), f"{path}:{node.lineno}"


#: PyYAML's functions that may build any Python object, by default or when asked.
_BUILDERS = {"load", "load_all", "full_load", "unsafe_load", "Loader", "FullLoader", "UnsafeLoader"}


def test_no_shell_is_started() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                shell = [word for word in node.keywords if word.arg == "shell"]
                assert not shell, f"{path}:{node.lineno}"
                name = ast.unparse(node.func)
                assert name not in ("os.system", "os.popen"), f"{path}:{node.lineno}"
