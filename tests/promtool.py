"""Prometheus's own checker, where it is installed. Not for: Prometheus itself, which no test needs."""

from __future__ import annotations

import shutil

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on PATH: apt install prometheus"
)


def promtool() -> str:
    """Its path."""
    found = shutil.which("promtool")
    assert found
    return found
