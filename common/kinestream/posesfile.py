"""The file of poses of one video: OUTPUT/poses.jsonl, whole or not there at all.

Not for: what its lines are (see `messages.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kinestream.errors import UsageError
from kinestream.partfile import open_part, part_of


@contextlib.contextmanager
def poses_file(output: Path) -> Iterator[TextIO]:
    """A file that becomes OUTPUT/poses.jsonl if the block ends well; if not, nothing is left of it.

    Raises `UsageError` if it cannot be written there.
    """
    poses = output / "poses.jsonl"
    is_new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {output}: {error.strerror}") from error
    try:
        with open_part(poses) as lines:
            try:
                yield lines
                part_of(poses).replace(poses)
            except BaseException:
                part_of(poses).unlink()
                raise
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else has put something there
            if is_new:
                output.rmdir()
        raise
