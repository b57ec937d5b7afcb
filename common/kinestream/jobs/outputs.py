"""Files that were asked for, made of a job's lines. Not for: the lines themselves (`collecting.py`)."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kinestream.errors import KinestreamError, UsageError
from kinestream.jobs.reading import ended
from kinestream.jobs.request import FILES, JobOptions
from kinestream.processes import start_child
from kinestream.skeletons import SKELETONS


class NotDrawn(KinestreamError):
    """The video could not be drawn; all else that was asked for is there."""


async def make_outputs(lines: Path, video: Callable[[], Path], options: JobOptions, work: Path) -> str:
    """Make in `work` what `options` ask for of `lines`, and of `video` if it is to be drawn on.

    Returns a note if the drawn video is not whole. Raises `NotDrawn` if there is none, when all else is there
    (`video` may raise `UsageError`), `OSError` if something cannot be written.
    """
    note = ""
    kept, chosen = work / FILES["jsonl"], lines
    if "jsonl" in options.outputs and lines != kept:
        await asyncio.to_thread(shutil.copyfile, lines, kept)
    if options.min_score > 0:
        chosen = work / "chosen.jsonl"
        await asyncio.to_thread(_choose, lines, chosen, options.min_score)
    if "csv" in options.outputs:
        await asyncio.to_thread(write_csv, chosen, work / FILES["csv"])
    try:
        if "video" in options.outputs:
            note = await _draw(video, chosen, work / FILES["video"])
    finally:
        if chosen != lines:
            chosen.unlink()
    return note


def _choose(lines: Path, chosen: Path, min_score: float) -> None:
    """Copy the lines without people of a lower score."""
    with chosen.open("w") as target:
        for record in _records(lines):
            people = record.get("people")
            if people:
                record["people"] = [person for person in people if person["score"] >= min_score]
            target.write(json.dumps(record) + "\n")


def write_csv(lines: Path, table: Path) -> None:
    """Write one row a person, and one without a person for a frame in which nobody was found.

    Coordinates are pixels of the video, (0, 0) its corner; times are the file's own, in seconds.
    """
    named = next((record["skeleton"] for record in _records(lines) if record.get("skeleton")), "")
    keypoints = SKELETONS[named].names if named in SKELETONS else ()
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        head = ["seq", "media_time_s", "status", "person", "x1", "y1", "x2", "y2", "score"]
        head += [f"{name}_{part}" for name in keypoints for part in ("x", "y", "score")]
        nobody = [""] * (len(head) - 3)
        writer.writerow(head)
        for record in _records(lines):
            for seq in range(record["seq"], (record.get("seq_to") or record["seq"]) + 1):
                opening = [seq, record.get("media_time_s"), record["status"]]
                writer.writerows(opening + row for row in (*_rows(record),) or (nobody,))


def _rows(record: dict[str, Any]) -> Iterator[list[Any]]:
    for number, person in enumerate(record.get("people") or []):
        yield [
            number,
            *person["box"],
            person["score"],
            *(part for joint in person["keypoints"] for part in joint),
        ]


def _records(lines: Path) -> Iterator[dict[str, Any]]:
    with lines.open() as file:
        for line in file:
            yield json.loads(line)


async def _draw(video: Callable[[], Path], lines: Path, output: Path) -> str:
    """Let `kinestream render` draw; of a damaged file it draws what it can, and complains."""
    try:
        film = str(await asyncio.to_thread(video))
    except UsageError as error:
        raise NotDrawn(f"{output.name} could not be written: {error}") from error
    said: list[str] = []
    child = start_child(["render", film, str(lines), "-o", str(output)], name="render", say=said.append)
    try:
        code = await ended(child)
    finally:
        if child.exit_code is None:
            child.kill()
    last = said[-1].partition(" | ")[2].removeprefix("kinestream render: ") if said else ""
    last = last.replace(str(lines), FILES["jsonl"])  # its place in the folder of work is nobody's business
    if code and not await asyncio.to_thread(output.exists):
        raise NotDrawn(f"{output.name} could not be written: {last}")
    return last if code else ""
