"""Reading the ledger: what became of every frame of a run, and whether the sum balances.

Not for: writing it; only the scripts change a ledger (see `delivery.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from redis.asyncio import Redis

from kinestream.delivery import Scripts, untyped
from kinestream.keys import Keys

COUNTS = ("ok", "dropped", "stale", "failed", "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The counters of one run at one instant. `in_flight` was read from the stream, `held` of these are with
    workers.

    `causes` maps `status:cause` to a number of frames, e.g. `dropped:no-room`. `priority` and `max_age_ms`
    are what its producer wished (see `turns.py`).
    """

    camera: str
    run: int
    state: str
    lane: str
    source: str
    produced: int
    ok: int
    dropped: int
    stale: int
    failed: int
    lost: int
    in_flight: int
    held: int
    causes: dict[str, int] = field(default_factory=dict)
    priority: int = 0
    max_age_ms: int | None = None

    @property
    def waiting(self) -> int:
        """Frames in the stream that no worker holds."""
        return self.in_flight - self.held

    @property
    def accounted(self) -> int:
        """The right side of the sum."""
        return self.ok + self.dropped + self.stale + self.failed + self.lost + self.in_flight

    @property
    def balanced(self) -> bool:
        """Whether every frame that was produced is accounted for."""
        return self.produced == self.accounted


async def read_ledger(redis: Redis, camera: str, run: int, *, keys: Keys | None = None) -> Ledger | None:
    """Read the ledger of one run; None if there is none (any more). The sum is read at one instant."""
    keys = keys or Keys()
    in_flight, held, flat = await Scripts(redis).call(
        "ledger", [keys.frames(camera), keys.ledger(camera, run)], [run]
    )
    words = [word.decode(errors="replace") for word in flat]  # causes and sources of other makers' producers
    fields = dict(list(pairwise(words))[::2])
    if "state" not in fields:
        return None
    return Ledger(
        camera=camera,
        run=run,
        state=fields["state"],
        lane=fields.get("lane", ""),
        source=fields.get("source", ""),
        produced=int(fields["produced"]),
        in_flight=int(in_flight),
        held=int(held),
        priority=int(fields.get("priority") or 0),
        max_age_ms=int(fields["max_age_ms"]) if fields.get("max_age_ms") else None,
        causes={name: int(value) for name, value in fields.items() if ":" in name},
        **{name: int(fields.get(name, 0)) for name in COUNTS},
    )


async def read_ledgers(redis: Redis, *, keys: Keys | None = None) -> list[Ledger]:
    """Read the ledger of the newest run of every camera, by camera name."""
    keys = keys or Keys()
    cameras = await untyped(redis).hgetall(keys.cameras)
    ledgers = [
        await read_ledger(redis, name.decode(), int(run), keys=keys) for name, run in sorted(cameras.items())
    ]
    return [ledger for ledger in ledgers if ledger is not None]
