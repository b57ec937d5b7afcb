"""How a frame gets from its camera to the results: who holds it, when it is reclaimed, at what cost.

A frame is named `(camera, run, seq)` and lives as entry `<run>-<seq>` of its camera's frames stream until its
outcome is published; both happen in one step. Each step is one Lua script, so a process may die between any
two of them. Replies get lost and are retried, hence every script may be called again with the same arguments.

begin      A producer opens a run, a number that only grows, and thereby closes the run before it. Whoever
           still offers to an older run is *fenced*: refused by name.
offer      The producer hands over a frame. Frames that no worker has taken yet are *waiting*. With no room
           left, a `live` camera's oldest waiting frame gives way and is published as dropped; an
           `every-frame` producer is told `full` and tries again. A jump in seq must come with its cause and
           becomes one dropped record. A producer that is told `lost` has been acknowledged more than Redis
           remembers: it ends that run with what is lost, and begins a new one.
look       About once a second, a worker reads which cameras there are, and how each wants to be served.
take       A worker takes as many frames as it has room for. Cameras of a higher priority are served first, at
           equal priority the live ones, in fair shares among equals; every-frame cameras get all that these
           leave. But whoever stands behind others is never starved: of every 8 frames that a worker takes,
           one is *owed* to them (`turns.py`). A taken frame is *held*: listed under the worker's name with a
           lease.
renew      A worker renews the leases of what it still works on. A worker that is dead or frozen does not.
sweep      Whichever worker comes first moves frames whose lease ran out to `returned`. That costs the frame
           one lease of waiting, and counts as one delivery.
hand back  A worker that drains moves what it will not finish to `returned` itself: no wait, no delivery
           counted.
commit     The outcome of each frame is published if, and only if, this XACK is the one that removes it. Of
           two workers that ran one frame, because one of them was frozen, the first publishes, the other is
           told 0.
finish     The producer ends its run. `end` goes straight to the results, and says how many frames there were.

Calling a script again changes nothing, with one exception: frames of a `take` whose reply got lost are held
by a worker that does not know of them. They wait for one lease and count one delivery, as if the worker had
died.

The sum that must hold for every run at every instant, with in flight read from the stream and not from a
counter:

    produced = ok + dropped + stale + failed + lost + in flight

When Redis's memory is full, whatever adds to it is refused unchanged (begin; offer, unless a frame gives
way), and whatever drains it goes on: take, renew, sweep, hand back, commit, finish.

The producer's side is `run.py`, the worker's `groupconsumer.py`, the sum `ledger.py`, the subscriber's
`subscriber.py`. Here are the scripts' loader and the limits that they are given. Not for: retries while Redis
is away (`redis.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from kinestream.pipelined import pipelined

SCRIPTS = (
    "begin",
    "offer",
    "look",
    "take",
    "renew",
    "hand_back",
    "leave",
    "sweep",
    "commit",
    "finish",
    "ledger",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers that the scripts are given, each at least 1; memory is counted in Redis's own bytes.

    Where a limit is in bytes, the newest entry is what decides: older ones make room for it.
    """

    live_room: int = 3
    """Waiting frames of a live camera: one being fetched, one next, and one for jitter; more is only age."""
    every_frame_room: int = 64
    """Waiting frames of a complete source: keeps several workers busy between two polls of the producer."""
    stream_bytes: int = 256 * 2**20
    """One frames stream, held frames included; a single frame is let in whatever its size."""
    result_ms: int = 5 * 60 * 1000
    """How long a subscriber may be away without missing a record."""
    result_bytes: int = 256 * 2**20
    dead_bytes: int = 64 * 2**20
    dead_ms: int = 7 * 24 * 3600 * 1000
    """A week: so that somebody looks at what broke on a Friday night."""
    pictures: int = 64
    """Pictures kept a camera while somebody wants them: two seconds of 30 fps for a viewer to catch up."""
    ledger_s: int = 24 * 3600
    """How long the ledger of an ended run can be read, and how long its camera's empty stream is kept."""
    lease_ms: int = 5000
    """How long a dead worker's frames wait; renewed three times within it, so one slow round trip costs
    nothing.
    """

    def __post_init__(self) -> None:
        """Raise `ValueError` for a limit below 1."""
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def of_results(self) -> tuple[int, int]:
        """What every script that publishes is given to trim the results by."""
        return self.result_ms, self.result_bytes


@cache
def script_source(name: str) -> str:
    """Return the Lua source of one script as the server gets it: the shared opening, then its own file."""
    folder = files("kinestream") / "lua"
    return (folder / "results.lua").read_text() + (folder / f"{name}.lua").read_text()


@cache
def _sha(name: str) -> str:
    return hashlib.sha1(script_source(name).encode(), usedforsecurity=False).hexdigest()


def untyped(redis: Redis) -> Any:
    """The same client: redis-py 5 types many async replies as "awaitable or not", which cannot be awaited."""
    return redis


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise an error that arose in a script under its own type on every server: Redis 6.2 wraps it."""
    try:
        yield
    except ResponseError as error:
        if "OOM command not allowed" in str(error):
            raise OutOfMemoryError(str(error)) from error
        if "READONLY You can't write" in str(error):
            raise ReadOnlyError(str(error)) from error
        raise


class Scripts:
    """Calls the scripts by name on one client; the server gets a script once, and its hash from then on."""

    def __init__(self, redis: Redis) -> None:
        self._command = pipelined(redis).command

    async def call(self, name: str, keys: list[str], args: list[Any]) -> Any:
        """Run one script and return its reply; raises redis's own errors (see `memory_errors`)."""
        with memory_errors():
            try:
                return await self._command("EVALSHA", _sha(name), len(keys), *keys, *args)
            except NoScriptError:
                return await self._command("EVAL", script_source(name), len(keys), *keys, *args)
