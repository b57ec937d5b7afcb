"""A text file that has its name only once it is whole; until then one process writes `NAME.part`.

Not for: videos, whose writer has a name for unfinished ones of its own.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

from kinestream.errors import UsageError


def part_of(path: Path) -> Path:
    """The name that a file has until it is whole."""
    return path.with_name(path.name + ".part")


def open_part(path: Path) -> TextIO:
    """Open the part of `path` for writing, line by line, and empty it; whoever closes it gives it its name.

    Raises `UsageError` if another process is writing it just now, or if it cannot be written.
    """
    part = part_of(path)
    while True:
        try:
            file = part.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise UsageError(f"cannot write to {part.parent}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError(f"another command is writing {part}: choose another folder") from None
        if _is_still(part, file):
            break
        file.close()  # it was whole and got its name between the two steps
    if os.fstat(file.fileno()).st_size:
        file.truncate(0)
    return file


def _is_still(part: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(part.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
