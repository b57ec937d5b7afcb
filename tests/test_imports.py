"""Imports point one way: `kinestream` imports none of the others; those import only it, never one another.

Processes meet in Redis, not in Python. The source is read, not run, so imports inside functions count too.
"""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = [ROOT / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
OURS = {folder.name for folder in FOLDERS}
SOURCES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))

MAY_IMPORT_ARQ = {ROOT / "common/kinestream/jobs/queue.py"}
"""arq is in maintenance: only one file may have to change when it goes."""

FOR_CONTRIBUTORS = {ROOT / "workers/kinestream_workers/graphs/build.py"}
"""Scripts beside the data that they made; they may import what the dependency group `dev` installs."""

SLOW_TO_IMPORT = {"arq", "av", "cv2", "numpy", "onnxruntime", "prometheus_client", "rich", "rtmlib"}
"""Each costs 0.05 s or more; `kinestream --help` shall answer at once."""


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the full name of every module imported anywhere in a source file, relative ones resolved."""
    root = next(folder for folder in FOLDERS if folder in path.parents)
    package = path.parent.relative_to(root.parent).parts
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*parents, *filter(None, [node.module])])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def top_levels(path: Path) -> set[str]:
    """The import packages that a source file imports from."""
    return {module.partition(".")[0] for module in imported_modules(path)}


def distribution_name(requirement: str) -> str:
    """The name that a requirement begins with, written as in a distribution's metadata comparisons."""
    return normal(re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0])


def normal(name: str) -> str:
    """A distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_package_is_missing_here() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == {
        "common",
        "ingest",
        "workers",
        "consumers",
    }
    dev_mode = PYPROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"]
    assert sorted(dev_mode) == sorted(str(folder.parent.relative_to(ROOT)) for folder in FOLDERS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = next(folder.name for folder in FOLDERS if folder in path.parents)
    assert top_levels(path) & OURS <= {own, "kinestream"}


def test_only_the_jobs_import_arq() -> None:
    assert {path for path in SOURCES if "arq" in top_levels(path)} <= MAY_IMPORT_ARQ


@pytest.mark.parametrize("for_contributors", [False, True])
def test_what_is_imported_is_declared(for_contributors: bool) -> None:
    project = PYPROJECT["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    requirements += PYPROJECT["dependency-groups"]["dev"] if for_contributors else []
    sources = FOR_CONTRIBUTORS if for_contributors else {*SOURCES} - FOR_CONTRIBUTORS
    declared = {distribution_name(requirement) for requirement in requirements}
    belongs_to = packages_distributions()
    third_party = set().union(*map(top_levels, sources)) - OURS - sys.stdlib_module_names
    undeclared = {
        name for name in third_party if not declared & {normal(d) for d in belongs_to.get(name, [name])}
    }
    assert undeclared == set()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_packages_are_regular_and_typed(folder: Path) -> None:
    assert (folder / "py.typed").is_file()
    with_sources = {path.parent for path in folder.rglob("*.py")}
    assert {path for path in with_sources if not (path / "__init__.py").is_file()} == set()


def test_commands_load_nothing_slow_before_they_are_called() -> None:
    script = """
import importlib.metadata, json, sys
import kinestream.cli
slow = {"kinestream": sorted(sys.modules)}
for command in importlib.metadata.entry_points(group="kinestream.commands"):
    command.load()
    slow[command.name] = sorted(sys.modules)
print(json.dumps(slow))
"""
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", script], text=True))
    assert set(loaded) == {"kinestream", *PYPROJECT["project"]["entry-points"]["kinestream.commands"]}
    slow = {command: sorted(SLOW_TO_IMPORT.intersection(modules)) for command, modules in loaded.items()}
    assert slow == {command: [] for command in loaded}
