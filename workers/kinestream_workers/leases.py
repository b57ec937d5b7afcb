"""What this worker holds, and keeping it: renewal of the leases, and sweeping up what other workers left
behind.

Not for: taking frames (see `reader.py`), nor for what becomes of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held
from kinestream.redis import through_outages

_log = logging.getLogger(__name__)

_RENEWALS_A_LEASE = 3
"""So that two renewals in a row may fail before anybody else takes the frame."""


class Leases:
    """The frames that a worker holds, from the moment it takes them until they are committed or handed
    back.
    """

    def __init__(self, consumer: GroupConsumer, released: asyncio.Event) -> None:
        """`released` is set whenever frames are kept no longer."""
        self._consumer = consumer
        self._released = released
        self._held: dict[tuple[str, str], Held] = {}

    def add(self, held: Iterable[Held]) -> None:
        """Begin to keep the leases of frames that were just taken."""
        for frame in held:
            self._held[frame.camera, frame.id] = frame

    def release(self, held: Iterable[Held]) -> None:
        """Keep these leases no longer; a frame that was taken anew in the meantime is kept."""
        for frame in held:
            if self._held.get((frame.camera, frame.id)) is frame:
                del self._held[frame.camera, frame.id]
        self._released.set()

    def held(self) -> list[Held]:
        """All frames that are kept, oldest first."""
        return [*self._held.values()]

    async def hand_back(
        self, held: Sequence[Held], *, counted: bool, stop: asyncio.Event | None = None
    ) -> None:
        """Give frames back for others to take, and keep them no longer.

        Raises `RedisUnavailable` when `stop` is set while Redis is away.
        """
        self.release(held)
        give_back = partial(self._consumer.hand_back, held, counted=counted)
        await through_outages(give_back, what="handing frames back", stop=stop)

    async def keep(self) -> None:
        """Renew until cancelled."""
        pause_s = self._consumer.limits.lease_ms / 1000 / _RENEWALS_A_LEASE
        while True:
            await asyncio.sleep(pause_s)
            held = self.held()
            mine = await through_outages(partial(self._consumer.renew, held), what="renewing leases")
            # Not mine any more: taken over by another worker, or committed while the renewal was under way.
            self.release(frame for frame, still in zip(held, mine, strict=True) if not still)


async def sweep(consumer: GroupConsumer, cameras: Callable[[], Sequence[str]]) -> None:
    """Return frames of dead workers to everybody, until cancelled; workers share the task without talking."""
    pause_s = consumer.limits.lease_ms / 1000 / 4
    while True:
        await asyncio.sleep(pause_s)
        moved = await through_outages(partial(consumer.sweep, cameras()), what="sweeping leases")
        if moved:
            _log.warning("%d frames of a dead or frozen worker go to others", moved)
