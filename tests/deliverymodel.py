"""What delivery is meant to do, in plain Python: what the real scripts on a real server are compared with.

It holds what Redis should hold and answers each step as the product should, or raises what the product should
raise. Written from the story in `kinestream/delivery.py`, not from the scripts. Not for: bytes, times and ids
of records.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import OutOfMemoryError

from deliverybooks import Camera, Holding, Name, Record, RunBook
from kinestream.delivery import Limits
from kinestream.errors import Fenced, RunLost
from kinestream.messages import Lane


class Model:
    """All that Redis should hold."""

    def __init__(self, cameras: Sequence[str], limits: Limits) -> None:
        self.limits = limits
        self.cameras = {name: Camera() for name in cameras}
        self.runs: dict[tuple[str, int], RunBook] = {}
        self.published: list[Record] = []
        self.active: set[str] = set()
        self.dead = 0
        self.locked = False
        self.full = False
        self._all_late = False
        self._again: set[tuple[str, Name]] = set()

    def begin(self, camera: str, number: int, lane: Lane, priority: int = 0) -> None:
        """A new run with this number."""
        self._need_memory()
        at = self.cameras[camera]
        before = self.runs.get((camera, at.newest))
        if before and before.state != "ended":
            self._publish(camera, at.newest, before.produced, status="end", cause="next-run")
            before.state, before.fenced = "ended", True
        at.newest, at.group, at.exists = number, True, True
        self.active.add(camera)
        self.runs[camera, number] = RunBook(lane, priority=priority)

    def wishes(self, camera: str) -> tuple[str, int]:
        """Lane and priority of its newest run, as far as Redis remembers it."""
        book = self.runs.get((camera, self.cameras[camera].newest), RunBook(""))
        return book.lane or "live", book.priority

    def close(self, camera: str, run: int) -> None:
        """The next producer fenced this run and died before it began its own."""
        self._need_memory()
        self.runs[camera, run].state = "closing"

    def offer(self, camera: str, run: int, seq: int, acknowledged: int, cause: str) -> str:
        """Offer a frame, by a producer that knows of `acknowledged` frames."""
        at, book = self.cameras[camera], self.runs.get((camera, run))
        known = book.produced if book else 0
        if at.newest > run:
            raise Fenced
        if at.newest < run or not book:
            raise RunLost(camera, run, acknowledged, known)
        if book.state != "open":
            raise Fenced
        if seq < known:
            return "ok"
        if min(acknowledged, seq) > known:
            raise RunLost(camera, run, acknowledged, known)
        if not at.group:
            self._need_memory()
            at.group = at.exists = True
        room = self.limits.live_room if book.lane == "live" else self.limits.every_frame_room
        evicted = book.lane == "live" and self._evict(camera, room)
        fits = len(at.waiting()) < room
        if not fits and book.lane == "every-frame":
            return "full"
        if not evicted:
            self._need_memory()
        if seq > known:
            self._publish(camera, run, known, seq - 1, status="dropped", cause=cause)
        if fits:
            at.frames.append((run, seq))
        else:
            self._publish(camera, run, seq, status="dropped", cause="no-room")
        book.produced = seq + 1
        self.active.add(camera)
        return "ok" if fits else "dropped"

    def _evict(self, camera: str, room: int) -> bool:
        """Let the oldest waiting frames give way, as far as they may, and return whether any did."""
        at, evicted = self.cameras[camera], False
        while len(at.waiting()) >= room:
            run, seq = at.waiting()[0]
            if self.runs[camera, run].lane == "every-frame":
                break
            at.frames.remove((run, seq))
            self._publish(camera, run, seq, status="dropped", cause="no-room")
            evicted = True
        return evicted

    def finish(self, camera: str, run: int, frames: int, acknowledged: int, cause: str) -> None:
        """End a run after `frames` frames."""
        book = self.runs.get((camera, run))
        if book and book.state == "ended":
            if book.fenced:
                raise Fenced
            return
        if not book or acknowledged > book.produced:
            raise RunLost(camera, run, acknowledged, book.produced if book else 0)
        if frames > book.produced:
            self._publish(camera, run, book.produced, frames - 1, status="dropped", cause=cause)
            book.produced = frames
        self._publish(camera, run, book.produced, status="end", cause="")
        book.state = "ended"
        self._leave_if_over(camera)

    def finish_lost(self, camera: str, run: int, acknowledged: int) -> None:
        """End a run of which Redis may remember less than was acknowledged."""
        book = self.runs.setdefault((camera, run), RunBook(""))
        if book.state == "ended":
            return
        known, book.produced = book.produced, max(book.produced, acknowledged)
        if book.produced > known:
            book.count("lost", "redis", book.produced - known)
        self._publish(camera, run, book.produced, status="end", cause="redis-lost-memory", lost_from=known)
        book.state = "ended"
        self._leave_if_over(camera)

    def take(
        self,
        worker: str,
        order: Sequence[str],
        room: int,
        ranks: Sequence[int] = (),
        owed: int = 0,
        all_late: bool = False,
    ) -> list[tuple[str, Name, int]]:
        """Take up to `room` frames: camera, name, deliveries; on top of it late ones, if `all_late`."""
        self._all_late, self._again = all_late, set()
        self._all_exist = all(self.cameras[camera].exists for camera in order)
        rank_of = dict(zip(order, ranks or [1] * len(order), strict=True))
        asking = [rank_of[camera] for camera in order if self._for_anybody(camera)]
        behind = [camera for camera in order if asking and rank_of[camera] > min(asking)]
        taken: list[tuple[str, Name, int]] = []
        while owed > 0:
            before = self._room_of(taken)
            for camera in behind:
                if owed > self._room_of(taken) - before:
                    taken += self._take_from(camera, worker, 1)
            owed -= self._room_of(taken) - before
            if self._room_of(taken) == before:
                break
        for rank in sorted({*rank_of.values()}):
            same = [camera for camera in order if rank_of[camera] == rank]
            taken += self._take_fairly(same, worker, room - self._room_of(taken))
        return taken

    def _take_fairly(self, asked: list[str], worker: str, room: int) -> list[tuple[str, Name, int]]:
        taken: list[tuple[str, Name, int]] = []
        while room and asked:
            more = []
            for i, camera in enumerate(asked):
                share = -(-room // (len(asked) - i))
                got = self._take_from(camera, worker, share)
                taken += got
                room -= self._room_of(got)
                if share and self._room_of(got) == share:
                    more.append(camera)
            asked = more
        return taken

    def _for_anybody(self, camera: str) -> bool:
        """Whether it has frames that may be taken."""
        at = self.cameras[camera]
        return bool(at.waiting()) or any(holding.owner == "returned" for holding in at.held.values())

    def _take_from(self, camera: str, worker: str, most: int) -> list[tuple[str, Name, int]]:
        at = self.cameras[camera]
        if most > 0 and (
            at.frames or not self._all_exist
        ):  # empty streams are not looked at, if all are there
            at.group = at.exists = True
        returned = sorted(name for name, holding in at.held.items() if holding.owner == "returned")[:most]
        left = most - len(returned)
        fresh = []
        for name in at.waiting():
            if not left:
                break
            fresh.append(name)
            left -= not self._is_late(camera, name)
        for name in returned:
            at.held[name] = Holding(worker, at.held[name].deliveries + 1)
            self._again.add((camera, name))
        at.held |= {name: Holding(worker) for name in fresh}
        return [(camera, name, at.held[name].deliveries) for name in [*returned, *fresh]]

    def _is_late(self, camera: str, name: Name) -> bool:
        """Whether a frame that was never taken is to be dropped; those of a complete run never are."""
        return self._all_late and self.runs[camera, name[0]].lane == "live"

    def _room_of(self, taken: Sequence[tuple[str, Name, int]]) -> int:
        """How many of these take room: one that was delivered before is not asked whether it is late."""
        return sum(
            (camera, name) in self._again or not self._is_late(camera, name) for camera, name, _ in taken
        )

    def wait(self, worker: str, cameras: Sequence[str]) -> list[tuple[str, Name, int]]:
        """Take one waiting frame of each camera, or nothing if a group is missing."""
        if not all(self.cameras[camera].group for camera in cameras):
            return []
        arrived = [(camera, self.cameras[camera].waiting()[:1]) for camera in cameras]
        for camera, names in arrived:
            self.cameras[camera].held |= {name: Holding(worker) for name in names}
        return [(camera, name, 1) for camera, names in arrived for name in names]

    def renew(self, worker: str, held: Sequence[tuple[str, Name]]) -> list[bool]:
        """Renew leases."""
        mine = [self._holding(worker, *one) for one in held]
        for holding in mine:
            if holding:
                holding.expired = False
        return [holding is not None for holding in mine]

    def hand_back(self, worker: str, held: Sequence[tuple[str, Name]], counted: bool) -> int:
        """Give frames back."""
        handed_back = 0
        for one in held:  # perhaps the same one twice
            holding = self._holding(worker, *one)
            if holding:
                holding.owner, holding.expired = "returned", False
                holding.deliveries -= not counted
                handed_back += 1
        return handed_back

    def expire(self, worker: str) -> list[tuple[str, Name]]:
        """The leases of all that this worker holds run out; returns what it holds."""
        found = [
            (c, name) for c, at in self.cameras.items() for name in at.held if self._holding(worker, c, name)
        ]
        for camera, name in found:
            self.cameras[camera].held[name].expired = True
        return found

    def sweep(self, cameras: Sequence[str]) -> int:
        """Move what expired."""
        if self.locked:
            return 0
        self.locked = True
        for camera in cameras:
            self.cameras[camera].group = self.cameras[camera].exists
        expired = [one for camera in cameras for one in self.cameras[camera].held.values() if one.expired]
        for holding in expired:
            holding.owner, holding.expired = "returned", False
        return len(expired)

    def commit(self, outcomes: Sequence[tuple[str, Name, str, str]]) -> list[bool]:
        """Publish outcomes: camera, name, status, cause."""
        counts = []
        for camera, name, status, cause in outcomes:
            at = self.cameras[camera]
            counts.append(at.held.pop(name, None) is not None)
            if counts[-1]:
                at.frames.remove(name)
                self._publish(camera, *name, status=status, cause=cause)
                self.dead += status == "failed"
                self._leave_if_over(camera)
        return counts

    def lose_group(self, camera: str) -> None:
        """Somebody destroyed the group."""
        self.cameras[camera].group = False
        self.cameras[camera].held.clear()

    def _holding(self, worker: str, camera: str, name: Name) -> Holding | None:
        holding = self.cameras[camera].held.get(name)
        return holding if holding and holding.owner == worker else None

    def _need_memory(self) -> None:
        if self.full:
            raise OutOfMemoryError

    def _publish(
        self,
        camera: str,
        run: int,
        seq: int,
        last: int | None = None,
        *,
        status: str,
        cause: str,
        lost_from: int | None = None,
    ) -> None:
        last = seq if last is None else last
        self.published.append(Record(camera, run, seq, last, status, cause, lost_from))
        if status != "end":
            self.runs[camera, run].count(status, cause, last - seq + 1)

    def _leave_if_over(self, camera: str) -> None:
        at = self.cameras[camera]
        book = self.runs.get((camera, at.newest))
        if not at.frames and not (book and book.state != "ended"):
            self.active.discard(camera)
