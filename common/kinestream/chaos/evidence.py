"""What subscribers are told and what Redis holds, gathered while faults go on and once they are over.

Three subscribers: one in the order of commit, one in the order of frames, both in this process and never
interrupted; and `kinestream watch --order`, which is killed and goes on from the cursor of its last whole
line. Not for: judging any of it (see `verdict.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from redis.asyncio import Redis

from kinestream.chaos.verdict import Told
from kinestream.delivery import untyped
from kinestream.keys import GROUP, Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.messages import PoseResult
from kinestream.subscriber import subscribe

_END = '"end"'
"""What stands in every line that tells an end, and in few others."""


class Reading:
    """What one subscriber was told so far."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.ends: set[tuple[str, int]] = set()
        self.ok: dict[str, int] = {}
        """How many poses of each camera."""

    def add(self, record: PoseResult) -> None:
        """Note one record."""
        self.told.append(_told(record))
        if record.status == "end":
            self.ends.add((record.camera, record.run))
        elif record.status == "ok":
            self.ok[record.camera] = self.ok.get(record.camera, 0) + 1

    async def follow(self, url: str, *, order: bool) -> None:
        """Subscribe from the beginning, for ever."""
        records = subscribe(url, start="beginning", order=order)
        async with aclosing(records):
            async for record in records:
                self.add(record)


class WatchLogs:
    """What `kinestream watch --order` wrote, over all of its lives; each has a log of its own."""

    def __init__(self) -> None:
        self._logs: list[Path] = []

    def words(self, log: Path) -> Sequence[str]:
        """The arguments of the next life, whose output goes to `log`."""
        cursor = self.cursor()
        self._logs.append(log)
        return ["watch", "--order", "--format", "json", "--from", cursor]

    def cursor(self) -> str:
        """Where the next life begins: after the last line that was written as a whole."""
        for log in reversed(self._logs):
            if lines := whole_lines(log.read_text(errors="replace")):
                return str(json.loads(lines[-1])["cursor"])
        return "beginning"

    def ends(self) -> set[tuple[str, int]]:
        """The runs whose end was told so far; cheap enough to ask again and again."""
        lines = (line for log in self._logs for line in whole_lines(log.read_text(errors="replace")))
        told = [json.loads(line) for line in lines if _END in line]
        return {(fields["camera"], fields["run"]) for fields in told if fields["status"] == "end"}

    def reading(self) -> Reading:
        """Read all of it."""
        reading = Reading()
        for log in self._logs:
            for line in whole_lines(log.read_text(errors="replace")):
                fields = json.loads(line)
                record = PoseResult.from_dict(fields)
                object.__setattr__(record, "committed_ms", fields["committed_ms"])
                reading.add(record)
        return reading


def whole_lines(text: str) -> list[str]:
    """The JSON lines of an output that may have ended anywhere; warnings between them are left out."""
    lines = text.split("\n")[:-1]  # what stands behind the last line feed is no whole line
    return [line for line in lines if line.startswith("{")]


async def all_ledgers(redis: Redis, keys: Keys) -> list[Ledger]:
    """The ledgers of all runs that Redis knows, by camera and run."""
    prefix = keys.ledger("*", 0).removesuffix("*:0")
    names = set()
    async for key in untyped(redis).scan_iter(match=prefix.replace("{", "[{]") + "*", count=1000):
        camera, _, run = key.decode().removeprefix(prefix).rpartition(":")
        names.add((camera, int(run)))
    ledgers = [await read_ledger(redis, camera, run, keys=keys) for camera, run in sorted(names)]
    return [ledger for ledger in ledgers if ledger is not None]


async def long_gone_consumers(redis: Redis, keys: Keys, cameras: Sequence[str], gone_ms: float) -> list[str]:
    """Consumers that hold nothing and did nothing for `gone_ms`: the sweep should have removed them."""
    found = []
    for camera in cameras:
        for consumer in await untyped(redis).xinfo_consumers(keys.frames(camera), GROUP):
            if not consumer["pending"] and consumer["idle"] > gone_ms and consumer["name"] != b"returned":
                name, idle_s = consumer["name"].decode(), consumer["idle"] / 1000
                found.append(f"the group of {camera} still has {name}, which is gone for {idle_s:.0f} s")
    return found


async def leftover_holds(redis: Redis, keys: Keys, cameras: Sequence[str]) -> list[str]:
    """Frames and pending entries that are left although every run is over."""
    found = []
    for camera in cameras:
        frames = keys.frames(camera)
        length = await untyped(redis).xlen(frames)
        pending = (await untyped(redis).xpending(frames, GROUP))["pending"]
        if length or pending:
            found.append(f"{camera} still has {length} frames in its stream, {pending} of them pending")
    return found


def _told(record: PoseResult) -> Told:
    return Told(
        record.camera,
        record.run,
        record.seq,
        record.last,
        record.status,
        record.cause,
        record.committed_ms or 0,
    )
