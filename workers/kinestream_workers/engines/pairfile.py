"""A model of two files: a small text file, such as `people.rtmpose`, that names its detector and its poses'
one.

    detector = "yolox_m.onnx"
    pose = "rtmpose-m.onnx"

Names are relative to the file's own folder. So a pair is one path wherever a model is. Not for: what is in
the two files (`yolox.py`, `rtmpose.py`).
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kinestream.errors import ModelError
from kinestream_workers.download import writing_to

SUFFIX = ".rtmpose"


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files."""

    detector: Path
    pose: Path


def read_pair(path: Path) -> Pair:
    """Raise `ModelError` for a file that names no two files that are there."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no {SUFFIX} file, which names a detector and a network for poses: {error}"
        ) from error
    if set(given) != {"detector", "pose"} or not all(isinstance(name, str) for name in given.values()):
        raise ModelError(
            f"{path} must name two files, detector and pose, and nothing else, "
            f"got {', '.join(sorted(given)) or 'nothing'}"
        )
    files = {role: path.parent / Path(name).expanduser() for role, name in given.items()}
    for role, file in files.items():
        if not file.is_file():
            raise ModelError(f"{path} names {file} as its {role}, and no file is there")
    return Pair(**files)


def write_pair(path: Path, *, detector: str, pose: str) -> None:
    """Write such a file, unless it says that already; several processes may do so at once.

    Raises `ModelError` if it cannot be written.
    """
    text = f"detector = {json.dumps(detector)}\npose = {json.dumps(pose)}\n"  # a JSON string is a TOML one
    with writing_to(path.parent):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
