"""Times as people type them: `80ms`, `0.5s`. Not for: showing them."""

from __future__ import annotations

import re

from kinestream.errors import UsageError

_MS = {"ms": 1.0, "s": 1000.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)")


def parse_ms(text: str, what: str) -> float:
    """Milliseconds of a time with its unit; raises `UsageError`, which names `what` is wrong."""
    match = _DURATION.fullmatch(text.strip())
    ms = float(match[1]) * _MS[match[2]] if match else 0.0
    if not 0 < ms < float("inf"):
        raise UsageError(f"{what} must be a time such as 80ms or 0.5s, and more than 0, got {text[:40]!r}")
    return ms
