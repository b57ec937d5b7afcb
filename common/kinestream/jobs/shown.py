"""A job in words: how it goes, as a line of a list, all that is known. Not for: how a terminal shows them."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from kinestream.jobs.store import JobRecord


def how_it_goes(record: JobRecord) -> str:
    """The state in a few words."""
    if record.state != "running":
        return record.state
    if record.stage == "writing":
        return "writing"
    left = f", {_duration(record.remaining_s)} left" if record.remaining_s is not None else ""
    waiting = f", {record.offered - record.done} with workers" if record.offered > record.done else ""
    return f"{record.fps:.1f} frames/s{waiting}, {record.people} people{left}"


def line_of(record: JobRecord) -> str:
    """A job as a line of a list."""
    of = f"{record.done}/{record.total or '?'}" if record.request.kind == "video" else record.request.of
    last = record.error or record.note if record.over else how_it_goes(record)
    return f"{record.id:44}  {record.state:8} {of:>13}  {last}".rstrip()


def facts_of(record: JobRecord) -> dict[str, Any]:
    """What is worth knowing, for people and programs."""
    request = record.request
    facts = {"id": record.id, "state": record.state, "kind": request.kind, "video": request.video}
    left_out = {"id", "state", "request", "run_key", "stamp", "cursor", "offset", "lines_of", "found"}
    facts |= {"of": request.of} if request.of else {}
    facts |= {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name not in left_out
    }
    return facts | {"remaining_s": record.remaining_s, "options": dataclasses.asdict(request.options)}


def when(ms: int) -> str:
    """A time for people, in their time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
