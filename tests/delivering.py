"""The steps of delivery in few words, for tests: small frames, producers, workers, and what Redis holds.

Not for: promises; those are in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from kinestream.delivery import Limits
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held, Outcome
from kinestream.keys import GROUP, Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.messages import Frame, Lane, PoseResult, Status
from kinestream.run import Run

PIXEL = b"\x10\x80\xf0"
HOUR_MS = 3600 * 1000


def frame(run: Run, seq: int, *, rows: int = 1) -> Frame:
    """A raw image one pixel wide, hence of 3 bytes a row."""
    return Frame(
        camera=run.camera,
        run=run.number,
        seq=seq,
        captured_us=1_000_000 + seq,
        width=1,
        height=rows,
        view=(0, 0, 1, rows),
        codec="raw",
        data=PIXEL * rows,
        lane=run.lane,
        clock="arrival",
    )


def outcome(held: Held, status: Status = "ok", cause: str = "", *, worker: str = "") -> Outcome:
    """An outcome of a held frame; `worker` tells the records of two workers apart."""
    result = PoseResult(
        camera=held.camera, run=held.run, seq=held.seq, status=status, cause=cause, worker=worker
    )
    error, traceback = (f"error of {held.id}", "Traceback …") if status == "failed" else ("", "")
    return Outcome(held, result, error, traceback)


def seqs(held: Iterable[Held]) -> list[int]:
    """The seqs of held frames, in order of arrival."""
    return [one.seq for one in held]


@dataclass
class Delivery:
    """One server, key names of the test's own, and the limits of the day."""

    redis: Redis
    keys: Keys
    limits: Limits = field(default_factory=lambda: Limits(every_frame_room=4))

    async def begin(self, lane: Lane = "live", camera: str = "cam", **arguments: object) -> Run:
        """Begin a run."""
        return await Run.begin(self.redis, camera, lane=lane, keys=self.keys, limits=self.limits, **arguments)

    async def offer(self, run: Run, *wanted: int, rows: int = 1) -> list[str]:
        """Offer the frames with these seqs, and return what was replied to each."""
        return [await run.offer(frame(run, seq, rows=rows)) for seq in wanted]

    def worker(self, name: str = "w1") -> GroupConsumer:
        """A worker."""
        return GroupConsumer(self.redis, name, keys=self.keys, limits=self.limits)

    async def records(self) -> list[PoseResult]:
        """All published records, oldest first."""
        return [
            PoseResult.unpack(entry[b"result"]) for _, entry in await self.redis.xrange(self.keys.results)
        ]

    async def told(self) -> list[tuple[str, int, str]]:
        """(status, seq, cause) of all published records."""
        return [(record.status, record.seq, record.cause) for record in await self.records()]

    async def ledger(self, run: Run) -> Ledger:
        """The ledger of a run, which must balance whenever a test looks at it."""
        found = await read_ledger(self.redis, run.camera, run.number, keys=self.keys)
        assert found is not None, f"no ledger of run {run.number}"
        assert found.balanced, found
        return found

    async def holders(self, camera: str = "cam") -> dict[int, str]:
        """Who holds which seq."""
        pending = await self.redis.xpending_range(self.keys.frames(camera), GROUP, "-", "+", 1000)
        return {int(entry["message_id"].split(b"-")[1]): entry["consumer"].decode() for entry in pending}

    async def expire_leases(self, held: Iterable[Held], worker: str) -> None:
        """Let these frames look as if their worker had not renewed them for an hour."""
        for one in held:
            await self.redis.xclaim(
                self.keys.frames(one.camera), GROUP, worker, 0, [one.id], idle=HOUR_MS, justid=True
            )

    async def snapshot(self) -> dict[bytes, bytes]:
        """All keys as a save to disk would keep them."""
        names = [name async for name in self.redis.scan_iter(match=f"{self.keys.prefix}:*", count=1000)]
        return {name: await self.redis.dump(name) for name in names}

    async def come_back_with(self, snapshot: dict[bytes, bytes]) -> None:
        """Let Redis forget everything since the snapshot, as after a crash."""
        async for name in self.redis.scan_iter(match=f"{self.keys.prefix}:*", count=1000):
            await self.redis.delete(name)
        for name, value in snapshot.items():
            await self.redis.restore(name, 0, value)

    async def everything(self) -> dict[str, object]:
        """Contents of all keys but the sweeper's lock, to see that nothing changed."""
        found: dict[str, object] = {}
        async for name in self.redis.scan_iter(match=f"{self.keys.prefix}:*", count=1000):
            if name.decode() != self.keys.sweeper:
                found[name.decode()] = await self.redis.dump(name)
        return found
