"""compose.yaml as tests read it: its variables filled in, its healthchecks as commands that run here.

Not for: an engine; there is none where the tests run.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

HEARTBEAT = "/tmp/heartbeat"
"""Where the containers have it; here each process needs one of its own."""

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})")


def variables(text: str) -> dict[str, str]:
    """Names and defaults of the variables in a text."""
    return {found[1]: found[2] or "" for found in _VARIABLE.finditer(text) if found[1]}


def compose_file(name: str = "compose.yaml", **given: str) -> dict[str, Any]:
    """The services of a file by name, with these variables, and defaults for the others."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else given.get(found[1]) or found[2] or ""

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(inner) for key, inner in part.items()}
        if isinstance(part, list):
            return [filled(inner) for inner in part]
        return _VARIABLE.sub(value, part) if isinstance(part, str) else part

    services: dict[str, Any] = filled(yaml.safe_load((ROOT / name).read_text()))["services"]
    return services


def health_line(service: dict[str, Any], heartbeat: Path, seconds: int | None = None) -> str:
    """The shell line that says whether a service is healthy, with another file, and limit if given."""
    kind, line = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert line.count(HEARTBEAT) == 1
    line = line.replace(HEARTBEAT, shlex.quote(str(heartbeat)))
    if seconds is not None:
        line, changed = re.subn(r"'\d+ seconds ago'", f"'{seconds} seconds ago'", line)
        assert changed == 1
    return line


def healthy(line: str) -> bool:
    """Whether a health line says so; what it prints in vain is of no interest."""
    return subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, timeout=20).returncode == 0
