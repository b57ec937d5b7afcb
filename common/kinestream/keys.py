"""The names of all Redis keys, and the only place that knows about shards.

Every key that one script touches must share a Redis Cluster slot, so the shard's number is the hash tag.
There is one shard for now. Not for: what is inside the keys (see `delivery.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kinestream.errors import UsageError

GROUP = "workers"
"""The consumer group on every frames stream."""

RETURNED = "returned"
"""The pseudo-consumer that holds frames nobody works on: handed back, or swept from a dead worker."""

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
_CAMERA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_camera(name: str) -> str:
    """Return `name` if it may name a camera, else raise `UsageError`.

    The name enters keys, file names and metric labels, hence the narrow alphabet.
    """
    if not _CAMERA.fullmatch(name):
        raise UsageError(
            "a camera name is 1 to 64 of A-Z a-z 0-9 _ . - and starts with a letter or digit, "
            f"got {name if len(name) <= 80 else name[:80] + '…'!r}"
        )
    return name


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix; tests use a prefix of their own, everybody else the default."""

    prefix: str = "ks"
    shard: int = 0

    def __post_init__(self) -> None:
        # A brace in the prefix would become the hash tag in the shard's place.
        if not _PREFIX.fullmatch(self.prefix):
            raise UsageError(
                f"a key prefix is A-Z a-z 0-9 _ . : - and starts with no sign, got {self.prefix!r}"
            )
        if self.shard < 0:
            raise UsageError(f"a shard is 0 or more, got {self.shard}")

    def _key(self, *parts: object) -> str:
        return ":".join((self.prefix, f"{{{self.shard}}}", *map(str, parts)))

    @property
    def cameras(self) -> str:
        """Hash: camera -> its newest run."""
        return self._key("cameras")

    @property
    def active(self) -> str:
        """Set: cameras that workers must look at (a run is open, or frames are left)."""
        return self._key("active")

    @property
    def waiting(self) -> str:
        """Set: cameras that may have frames; `take` looks at no others."""
        return self._key("waiting")

    @property
    def seen(self) -> str:
        """String with a short life: what `look` replied to the last worker, for the others."""
        return self._key("seen")

    @property
    def results(self) -> str:
        """Stream: one entry a record, field `result`; ids are `<commit ms>-<running number>`."""
        return self._key("results")

    @property
    def dead(self) -> str:
        """Stream: frames given up on, with bytes, error, traceback, worker and deliveries."""
        return self._key("dead")

    @property
    def sweeper(self) -> str:
        """String with a short life: whoever set it sweeps expired leases this time."""
        return self._key("sweeper")

    @property
    def workers(self) -> str:
        """Sorted set: worker -> when it last reported, milliseconds on Redis's clock."""
        return self._key("workers")

    def worker(self, name: str) -> str:
        """String with a short life: what a worker reports of itself, as JSON."""
        return self._key("worker", name)

    @property
    def wanted(self) -> str:
        """Hash: camera -> how it is wanted, as a packed `CameraSpec`; producers obey it."""
        return self._key("wanted")

    @property
    def finished(self) -> str:
        """Hash: camera -> what was wanted, of recordings that have been read to their end."""
        return self._key("finished")

    @property
    def producers(self) -> str:
        """Sorted set: producer -> when it last reported, milliseconds on Redis's clock."""
        return self._key("producers")

    def claim(self, camera: str) -> str:
        """String with a short life: which producer process serves the wanted camera."""
        return self._key("claim", camera)

    def camera_state(self, camera: str) -> str:
        """String: what the camera's producer last reported of it, packed, with the time of Redis's clock."""
        return self._key("camera", camera)

    @property
    def told(self) -> str:
        """Sorted set: camera -> when a state of it was last told, milliseconds on Redis's clock."""
        return self._key("told")

    def watched(self, camera: str) -> str:
        """Hash: videos of a watched folder that are done -> what came of them."""
        return self._key("watched", camera)

    @property
    def jobs(self) -> str:
        """Sorted set: job -> when it was handed in, milliseconds on Redis's clock."""
        return self._key("jobs")

    def job(self, job_id: str) -> str:
        """Hash: what was asked for, and how it goes; it expires some time after its end."""
        return self._key("job", job_id)

    def job_claim(self, job_id: str) -> str:
        """String with a short life: who works on the job now."""
        return self._key("job-claim", job_id)

    @property
    def job_queue(self) -> str:
        """The prefix of arq's queues (see `jobs/queue.py`)."""
        return self._key("job-queue")

    def frames(self, camera: str) -> str:
        """Stream: the camera's waiting and held frames; an entry's id is `<run>-<seq>`."""
        return self._key("frames", camera)

    def ledger(self, camera: str, run: int) -> str:
        """Hash: the counters and facts of one run."""
        return self._key("ledger", camera, run)

    def want(self, camera: str) -> str:
        """String with a short life: set by whoever wants the camera's pictures."""
        return self._key("want", camera)

    def pictures(self, camera: str) -> str:
        """Stream, short: packed frames of the camera, copied at commit while `want` is set."""
        return self._key("pictures", camera)


def camera_of_frames(stream: bytes) -> str:
    """The camera to which a frames stream belongs, by its key: names of cameras have no colon."""
    return stream.rpartition(b":")[2].decode()
