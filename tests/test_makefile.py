"""What the Makefile promises about the environment it makes, with a Python that only pretends to install.

What the system lacks is one line, an installation that failed is taken up again, and a second call installs
nothing. Real installations are for `.ci/run`, which does one from nothing.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make on PATH")

STAND_IN = """#!/bin/sh
# Instead of python and the programs in .venv/bin: writes down what it was asked, and fails where it shall.
echo "$(basename "$0") $*" >>asked
case "$*" in
*"$FAILS_AT"*) printf "$FAILS_WITH" >&2; exit 1;;
-V) echo Python 3.8.10;;
"-m venv"*) mkdir -p .venv/bin; touch .venv/pyvenv.cfg
    for program in python kinestream; do cp "$0" .venv/bin/$program; done;;
esac
"""


class Checkout:
    """A folder with the Makefile and that stand-in."""

    def __init__(self, folder: Path, python: Path) -> None:
        """Copy the two files that make reads, and write the stand-in to `python`."""
        self.folder, self.python = folder, python
        for name in ["Makefile", "pyproject.toml"]:
            shutil.copy(ROOT / name, folder / name)
        python.write_text(STAND_IN)
        python.chmod(0o755)

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run make, untouched by the variables of the `make test` that this may be part of."""
        return subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def make(self, *arguments: str, fails_at: str = "nowhere", fails_with: str = "") -> tuple[list[str], str]:
        """Return the stand-in's commands, and what stands on stderr without make's own lines.

        Whatever has the text `fails_at` in its command prints `fails_with` and fails. An error must come out
        as a line and as make's exit status, or not at all.
        """
        asked = self.folder / "asked"
        asked.write_text("")
        done = self.run(*arguments, FAILS_AT=fails_at, FAILS_WITH=fails_with)
        errors = "".join(re.findall(r"^(?!make[:\[]).*\n", done.stderr, re.MULTILINE))
        assert (done.returncode != 0) == (errors != ""), done.stdout + done.stderr
        return asked.read_text().splitlines(), errors


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout in a folder whose name has a space, as people's folders do."""
    folder = tmp_path / "my code"
    folder.mkdir()
    return Checkout(folder, tmp_path / "stand-in")


def installs(asked: list[str]) -> list[str]:
    """What pip was asked to install."""
    return [line.partition(" install ")[2] for line in asked if " install " in line]


def test_demo_makes_an_environment_and_installs_once(checkout: Checkout) -> None:
    asked, _ = checkout.make("demo", "ARGS=--seconds 3")
    assert installs(asked) == ["-e .[embedded]"]
    assert asked[-1] == "kinestream demo --seconds 3"
    assert checkout.make("demo") == (["kinestream demo"], "")


def test_test_installs_the_tools_with_a_pip_that_knows_groups(checkout: Checkout) -> None:
    checkout.make("demo")
    asked, _ = checkout.make("test", "ARGS=-k redis")
    assert installs(asked) == ["pip>=25.1", "-e .[embedded] --group dev"]
    assert re.fullmatch(r"python -m pytest .*-k redis", asked[-1])
    assert len(checkout.make("test")[0]) == 1


def test_changed_dependencies_are_installed_into_the_same_environment(checkout: Checkout) -> None:
    checkout.make("demo")
    stamp = (checkout.folder / ".venv/installed").stat().st_mtime
    os.utime(checkout.folder / "pyproject.toml", (stamp + 10, stamp + 10))
    asked, _ = checkout.make("demo")
    assert installs(asked) == ["-e .[embedded]"]
    assert not [line for line in asked if "venv" in line]


@pytest.mark.parametrize(
    ("fails_at", "done"), [("-m venv", 0), ("install -e", 0), ("pip>=25.1", 1), ("--group dev", 1)]
)
def test_failed_installation_is_taken_up_again(checkout: Checkout, fails_at: str, done: int) -> None:
    _, errors = checkout.make("test", fails_at=fails_at, fails_with="no network\n")
    assert errors == "no network\n"
    asked, _ = checkout.make("test")
    assert installs(asked) == ["-e .[embedded]", "pip>=25.1", "-e .[embedded] --group dev"][done:]


def test_environment_without_pip_is_made_anew(checkout: Checkout) -> None:
    checkout.make("demo")
    (checkout.folder / ".venv/installed").unlink()
    (checkout.folder / ".venv/bin/python").write_text("#!/bin/sh\nexit 1\n")
    asked, _ = checkout.make("demo")
    assert "stand-in -m venv --clear .venv" in asked
    assert asked[-1] == "kinestream demo"


@pytest.mark.parametrize(
    ("fails_at", "fails_with", "line"),
    [
        ("version_info", "", r"needs Python 3\.11 or newer, .*stand-in is Python 3\.8\.10"),
        ("ensurepip", "", r"apt install python3-venv"),
        (
            "import cv2",
            "Traceback:\nImportError: libGL.so.1: cannot open\n",
            r"apt install libgl1 libglib2\.0-0 \(ImportError: libGL\.so\.1: cannot open\)",
        ),
    ],
)
def test_what_the_system_lacks_is_one_line(
    checkout: Checkout, fails_at: str, fails_with: str, line: str
) -> None:
    for _ in range(2):  # it must not be taken for done the second time
        asked, errors = checkout.make("demo", fails_at=fails_at, fails_with=fails_with)
        assert re.search(line, errors)
        assert errors.count("\n") == 1
        assert "kinestream demo" not in asked


def test_python_that_is_not_there_is_one_line(checkout: Checkout) -> None:
    _, errors = checkout.make("demo", "PYTHON=python-nowhere")
    assert re.fullmatch(r"python-nowhere is not here: apt install python3 .*\n", errors)


def test_help_lists_every_target(checkout: Checkout) -> None:
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert re.findall(r"^make (\w+) +\S", checkout.run().stdout, re.MULTILINE) == phony[1].split()


def test_clean_keeps_what_the_demo_recorded(checkout: Checkout) -> None:
    for name in [".venv/lib", "dist", "common/__pycache__", "kinestream-demo"]:
        (checkout.folder / name).mkdir(parents=True)
    for folder in ["ingest", "workers", "consumers", "tests", "bench"]:
        (checkout.folder / folder).mkdir()
    checkout.make("clean")
    left = {str(path.relative_to(checkout.folder)) for path in checkout.folder.rglob("*")}
    assert left & {".venv", "dist", "common/__pycache__", "kinestream-demo"} == {"kinestream-demo"}
