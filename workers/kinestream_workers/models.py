"""Which file `--model` means: the name of a packaged graph, or a path.

Not for: what is in the file (the engine checks that when it opens it).
"""

from __future__ import annotations

import os
from pathlib import Path

from kinestream.errors import ModelError

PACKAGED = {"testcard": "testcard-dynamic.onnx", "testcard-fixed": "testcard-fixed.onnx"}
"""Models that need no download: the test card's graph, its batch axis dynamic or fixed at 1."""

GRAPHS = Path(__file__).parent / "graphs"


def resolve_model(model: str | os.PathLike[str]) -> Path:
    """Return the file of a packaged model's name or of a path; `./testcard` is a path.

    Raises `ModelError` if there is no such file or it cannot be read.
    """
    packaged = PACKAGED.get(os.fspath(model))
    path = GRAPHS / packaged if packaged else Path(model).expanduser()
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        known = ", ".join(PACKAGED)
        raise ModelError(
            f"cannot read model {model}: {error.strerror}; give the path of an RTMO .onnx file, or {known}"
        ) from error
    if empty:
        raise ModelError(f"model {model} is an empty file")
    return path
