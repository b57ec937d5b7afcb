"""Results of one run into a file of lines, with a place from which another process can go on.

A place is a cursor of the results stream, and how many bytes of the file belong to what came before it. Both
are told together, after the lines were handed to the system. So whoever goes on cuts the file there and reads
from there: no line is missing, none is twice. The cursor is never the one after the end of a run: nothing
would come after that. Not for: where the file is, nor what is made of it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from redis.asyncio import Redis

from kinestream.cursor import Cursor, Position
from kinestream.errors import KinestreamError
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.resultreader import cursor_at_beginning
from kinestream.subscriber import subscribe

PATIENCE_S = 600.0
"""How long a record is waited for while others behind it are there: a worker may die, and another load its
model, more than once."""

_TOLD_EVERY_S = 0.5
_RATE_OVER_S = 5.0


class Incomplete(KinestreamError):
    """The records of this run cannot all be had any more: it has to be made again."""


@dataclass(frozen=True)
class Place:
    """Up to where the records of a run are in the file: all that another process needs to go on."""

    cursor: str
    offset: int = 0
    frames: int = 0
    people: int = 0


class Lines:
    """The file of lines. `frames` and `people` count what was written, `place` is where to go on from."""

    def __init__(self, file: BinaryIO, place: Place, models: Iterable[str] = ()) -> None:
        """`models` are those of the lines that are there."""
        self.place = place
        self.frames, self.people = place.frames, place.people
        self.models = {*models}
        self._file = file
        self._cursor = place.cursor
        self._told_s = time.monotonic()

    def add(self, result: PoseResult) -> None:
        """Write one record; raises `KinestreamError` if workers with another model had a part in it."""
        self.models |= {result.model} - {""}
        if len(self.models) > 1:
            raise KinestreamError(
                f"workers with different models share this Redis ({', '.join(sorted(self.models))}), so the "
                "poses would be of both: let them take one model, then retry the job"
            )
        self._file.write(json.dumps(result.as_dict()).encode() + b"\n")
        self.frames += result.frames
        self.people += len(result.people or ())
        self._cursor = result.cursor
        if time.monotonic() - self._told_s > _TOLD_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Make what was written the place to go on from."""
        self._file.flush()
        self._told_s = time.monotonic()
        self.place = Place(self._cursor, self._file.tell(), self.frames, self.people)


class Rate:
    """Frames a second over the last seconds; told at least every so often, since it falls to 0 in silence."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now_s: float, frames: int) -> float:
        """The rate, with so many `frames` by now."""
        self._seen.append((now_s, frames))
        while len(self._seen) > 2 and self._seen[1][0] < now_s - _RATE_OVER_S:
            self._seen.popleft()
        first_s, first = self._seen[0]
        return (frames - first) / (now_s - first_s) if now_s > first_s else 0.0


async def collect(redis: Redis, camera: str, run: int, lines: Lines, *, keys: Keys) -> str:
    """Write the records of a run, in the order of its frames, to its end; return the cause of that.

    Raises `Incomplete` if records were trimmed before they were read, `OSError` if lines cannot be written.
    """
    await _check_kept(redis, run, lines.place.cursor, keys)
    start = str(_at_run(Cursor.parse(lines.place.cursor), camera, run))
    results = subscribe(redis, [camera], start=start, order=True, wait_s=PATIENCE_S, keys=keys)
    async with aclosing(results):
        async for result in results:
            if result.status == "missing" or result.run > run:
                raise Incomplete(f"results of run {run} are missing: {result.cause or 'a newer run began'}")
            if result.status == "end":
                lines.tell()
                return result.cause
            lines.add(result)
    raise Incomplete("the results ended")


def _at_run(cursor: Cursor, camera: str, run: int) -> Cursor:
    """The same cursor, and no word of earlier runs of this camera.

    Frames of an attempt that failed may be finished after the next one has begun; in the order of frames, its
    run would wait for the end of theirs, which was before the cursor.
    """
    position = cursor.positions.get(camera)
    if position is not None and position.run >= run:
        return cursor
    return replace(cursor, positions={**cursor.positions, camera: Position(run, 0)})


async def _check_kept(redis: Redis, run: int, cursor: str, keys: Keys) -> None:
    """Raise `Incomplete` if records after this cursor were trimmed.

    A reader is told so by the next record that comes; of a run that is over, none may come any more.
    """
    oldest = (await cursor_at_beginning(redis, keys, ordered=True)).following
    if oldest.number > Cursor.parse(cursor).following.number:
        raise Incomplete(f"results of run {run} are missing: trimmed")


def take_over(before: Path, lines: Path, offset: int) -> set[str] | None:
    """Copy the first `offset` bytes that another wrote, and may write on; None if they are not there.

    Returns the models of these lines: one at most, since `Lines` takes no other.
    """
    try:
        with before.open("rb") as source, lines.open("wb") as target:
            while (left := offset - target.tell()) > 0:
                some = source.read(min(left, 2**20))
                if not some:
                    return None
                target.write(some)
    except FileNotFoundError:
        return None
    with lines.open("rb") as copied:
        models = (json.loads(line).get("model") for line in copied)
        return {model for model in [next(filter(None, models), "")] if model}
