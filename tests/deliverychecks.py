"""Reads all that delivery keeps in Redis, checks what must hold at every instant, and compares with the
model.

The sums are taken from Redis alone, so that they hold whatever the model says. Not for: doing steps.
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from delivering import Delivery
from deliverybooks import Name, Record
from deliverymodel import Model
from kinestream.keys import GROUP
from kinestream.ledger import COUNTS
from kinestream.messages import PoseResult

Fields = dict[bytes, bytes]


class Seen:
    """The results stream as a reader sees it who has been there from the beginning."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.records: list[Record] = []

    def read(self, entries: list[tuple[bytes, Fields]]) -> None:
        """Go on with the entries from the last one read."""
        for name, fields in entries[1:] if self.ids else entries:
            one = PoseResult.unpack(fields[b"result"])
            self.ids.append(name)
            self.records.append(
                Record(one.camera, one.run, one.seq, one.last, one.status, one.cause, one.lost_from)
            )

    def seqs(self, camera: str, run: int) -> list[int]:
        """Seqs of this run that have been published, each as often as it was."""
        mine = [one for one in self.records if (one.camera, one.run) == (camera, run) and one.status != "end"]
        return [seq for one in mine for seq in range(one.seq, one.last + 1)]


async def check(delivery: Delivery, model: Model, seen: Seen) -> None:
    """Raise `AssertionError` unless Redis holds what it must, and what the model says."""
    names, runs = [*model.cameras], [*model.runs]
    replies = await _read(delivery, names, runs, seen)
    seen.read(replies.pop())
    newest, active, dead = replies[-3:]
    frames = {}
    for i, camera in enumerate(names):
        entries, pending, groups = (_or_none(reply) for reply in replies[3 * i : 3 * i + 3])
        frames[camera] = [_name(name) for name, _ in entries or []]
        at = model.cameras[camera]
        assert frames[camera] == at.frames, f"frames of {camera}"
        assert {_name(one["message_id"]): _holding(one) for one in pending or []} == {
            name: (one.owner, one.deliveries) for name, one in at.held.items()
        }, f"who holds what of {camera}"
        assert bool(groups) == at.group, f"group of {camera}"
    ledgers = dict(zip(runs, replies[3 * len(names) : -3], strict=True))
    for (camera, run), ledger in ledgers.items():
        _check_sum(camera, run, ledger, [seq for of, seq in frames[camera] if of == run], seen)
    numbers = [int(name.split(b"-")[1]) for name in seen.ids]
    assert numbers == [*range(len(numbers))], "running numbers of the results"

    assert seen.records == model.published
    assert {camera.decode() for camera in active} == model.active
    assert {camera.decode(): int(run) for camera, run in newest.items()} == {
        camera: at.newest for camera, at in model.cameras.items() if at.newest
    }
    assert dead == model.dead
    for key, ledger in ledgers.items():
        book = model.runs[key]
        assert ledger[b"state"].decode() == book.state and int(ledger[b"produced"]) == book.produced, key
        assert _counts(ledger) == dict(book.counts), key


async def _read(delivery: Delivery, names: list[str], runs: list[tuple[str, int]], seen: Seen) -> list[Any]:
    keys = delivery.keys
    pipe = delivery.redis.pipeline(transaction=False)
    for camera in names:
        pipe.xrange(keys.frames(camera))
        pipe.xpending_range(keys.frames(camera), GROUP, "-", "+", 1000)
        pipe.xinfo_groups(keys.frames(camera))
    for camera, run in runs:
        pipe.hgetall(keys.ledger(camera, run))
    pipe.hgetall(keys.cameras).smembers(keys.active).xlen(keys.dead)
    pipe.xrange(keys.results, min=seen.ids[-1] if seen.ids else "-")
    replies: list[Any] = await pipe.execute(raise_on_error=False)
    return replies


def _check_sum(camera: str, run: int, ledger: Fields, in_flight: list[int], seen: Seen) -> None:
    """Every frame is counted once, and told once or on its way."""
    produced = int(ledger[b"produced"])
    counts = {name: int(ledger.get(name.encode(), 0)) for name in COUNTS}
    assert produced == sum(counts.values()) + len(in_flight), f"the sum of {camera} {run}"
    told = seen.seqs(camera, run)
    assert sorted(told + in_flight) == [*range(produced - counts["lost"])], f"the frames of {camera} {run}"


def _counts(ledger: Fields) -> dict[str, int]:
    named = {name.decode(): value for name, value in ledger.items()}
    return {name: int(value) for name, value in named.items() if name in COUNTS or ":" in name}


def _name(entry_id: bytes) -> Name:
    run, seq = entry_id.split(b"-")
    return int(run), int(seq)


def _holding(pending: dict[str, Any]) -> tuple[str, int]:
    return pending["consumer"].decode(), pending["times_delivered"]


def _or_none(reply: Any) -> Any:
    """None if there is no such stream or group."""
    return None if isinstance(reply, ResponseError) else reply
