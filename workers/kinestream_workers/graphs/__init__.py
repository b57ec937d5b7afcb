"""ONNX files that come with Kinestream: the graphs that read the test card, and where they lie.

Not for: RTMO's own files (those are the user's), or for building these (see build.py).
"""

from __future__ import annotations

from pathlib import Path

GRAPHS = ("testcard-dynamic", "testcard-fixed")


def graph_path(name: str) -> Path:
    """Where the graph `testcard-dynamic` or `testcard-fixed` lies. ValueError for any other name."""
    if name not in GRAPHS:
        raise ValueError(f"no graph is called {name!r}; there are {', '.join(GRAPHS)}")
    return Path(__file__).with_name(f"{name}.onnx")
