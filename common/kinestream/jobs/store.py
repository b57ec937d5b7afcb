"""The jobs in Redis: what was asked for, how it goes, who works on it.

Each change is one script (`lua/`), so that of two who believe that a job is theirs, one is told otherwise.
Every call may be repeated after a lost reply. Not for: arq, which says what is to be worked on (`queue.py`).
"""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self, cast

from redis.asyncio import Redis

from kinestream.delivery import memory_errors, untyped
from kinestream.errors import JobFailed, KinestreamError
from kinestream.jobs.request import JobOptions, JobRequest
from kinestream.keys import Keys

LEASE_S = 15.0
"""For so long a job waits for whoever works on it, once that one is silent: frozen, killed, or cut off."""

KEEP_S = 7 * 24 * 3600
"""How long a job that is over can be read, unless `kinestream jobs --keep` says otherwise."""

State = Literal["queued", "running", "done", "failed", "aborted"]
OVER: tuple[State, ...] = ("done", "failed", "aborted")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job at one moment.

    Frames are `offered` to workers, then `done`: of `total`, if that is known. `people` counts those found in
    all frames together, `fps` are the frames done a second just now. `error` says why it did not go well,
    `note` what else is worth knowing. `claims` counts how often somebody took it up, `owner` who did so last.
    Times are milliseconds on Redis's clock, 0 for not yet. The rest is for whoever goes on with it (see
    `analysis.py`).
    """

    id: str
    request: JobRequest
    state: State
    attempt: int
    claims: int
    submitted_ms: int
    started_ms: int
    finished_ms: int
    expires_ms: int
    stage: str
    run: int
    total: int
    offered: int
    done: int
    people: int
    fps: float
    error: str
    note: str
    folder: str
    owner: str
    run_key: str
    stamp: str
    cursor: str
    offset: int
    lines_of: int
    found: str

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at the present rate; None if that cannot be said."""
        return max(0, self.total - self.done) / self.fps if self.total and self.fps > 0 else None

    def raise_unless_done(self) -> None:
        """Raise `JobFailed` with the reason if it ended without results."""
        if self.state != "done":
            raise JobFailed(f"{self.id} {self.state}: {self.error or 'no reason is known'}")

    @classmethod
    def read(cls, job_id: str, fields: dict[bytes, bytes]) -> Self:
        """Read the hash; what is missing is empty."""

        def text(name: str) -> str:
            return fields.get(name.encode(), b"").decode(errors="replace")

        def whole(name: str) -> int:
            return int(text(name) or 0)

        request = JobRequest(
            kind=cast(Literal["video", "export"], text("kind")),
            video=text("video"),
            options=JobOptions.from_dict(json.loads(text("options") or "{}")),
            of=text("of"),
            version=text("version"),
        )
        facts: dict[str, Any] = {name: int(text(name) or 0) for name in _NUMBERS}
        facts |= {name: text(name) for name in _TEXTS}
        return cls(
            id=job_id, request=request, state=cast(State, text("state")), fps=float(text("fps") or 0), **facts
        )


_NUMBERS = (
    *("attempt", "claims", "submitted_ms", "started_ms", "finished_ms", "expires_ms"),
    *("run", "total", "offered", "done", "people", "offset", "lines_of"),
)
_TEXTS = ("stage", "error", "note", "folder", "owner", "run_key", "stamp", "cursor", "found")


@cache
def _source(name: str) -> str:
    return (files("kinestream.jobs") / "lua" / f"{name}.lua").read_text()


class JobStore:
    """All jobs under one set of keys; raises redis's own errors."""

    def __init__(self, redis: Redis, keys: Keys | None = None) -> None:
        self.redis = redis
        self.keys = keys or Keys()

    async def submit(self, job_id: str, request: JobRequest) -> tuple[bool, State, int]:
        """Hand in a job: whether it is a new one, its state and its attempt."""
        fields = {
            "kind": request.kind,
            "video": request.video,
            "version": request.version,
            "of": request.of,
            "options": request.options.as_json(),
        }
        keys = [self.keys.jobs, self.keys.job(job_id)]
        arguments = [job_id, secrets.token_hex(8), *_flat(fields)]
        is_new, state, attempt = await self._call("submit", keys, arguments)
        return bool(is_new), state.decode(), int(attempt)

    async def read(self, job_id: str) -> JobRecord | None:
        """One job; None if there is none, or it is too long ago."""
        fields = await untyped(self.redis).hgetall(self.keys.job(job_id))
        return JobRecord.read(job_id, fields) if fields else None

    async def read_all(self) -> list[JobRecord]:
        """All jobs, oldest first; those that have expired are forgotten on the way.

        What cannot be read is left out: a newer version's, or somebody else's.
        """
        found = []
        for name in await untyped(self.redis).zrange(self.keys.jobs, 0, -1):
            job_id = name.decode(errors="replace")
            try:
                record = await self.read(job_id)
            except (KinestreamError, ValueError, TypeError) as error:
                _log.info("job %s cannot be read: %s", job_id, error)
                continue
            if record is not None:
                found.append(record)
            else:
                await self._call("forget", [self.keys.jobs, self.keys.job(job_id)], [job_id])
        return found

    async def is_claimed(self, job_id: str) -> bool:
        """Whether somebody works on it now."""
        return bool(await untyped(self.redis).exists(self.keys.job_claim(job_id)))

    async def claim(self, job_id: str, owner: str, lease_s: float) -> tuple[str, int]:
        """Take a job up: `ok` and the number of the claim, or `gone`, `over`, `taken`.

        `owner` is a name for this claim alone: a process that was frozen may come to claim a job again.
        """
        reply, number = await self._call("claim", self._job(job_id), [owner, _ms(lease_s)])
        return reply.decode(), int(number)

    async def keep(self, job_id: str, owner: str, lease_s: float, fields: dict[str, Any]) -> str:
        """Go on with a job, and tell how it goes: `ok`, `abort` or `lost`."""
        arguments = [owner, _ms(lease_s), *_flat(fields)]
        return (await self._call("keep", self._job(job_id), arguments)).decode()  # type: ignore[no-any-return]

    async def settle(
        self, job_id: str, owner: str, state: State, fields: dict[str, Any], keep_s: int = KEEP_S
    ) -> bool:
        """Let go of a job that is over, or goes back to the queue; false if it is somebody else's."""
        keep = keep_s if state in OVER else ""
        return bool(await self._call("settle", self._job(job_id), [owner, state, keep, *_flat(fields)]))

    async def abort(self, job_id: str) -> str:
        """Want it to end: `aborted`, `asked`, the state of one that is over, or `gone`."""
        return (await self._call("abort", [self.keys.job(job_id)], [KEEP_S])).decode()  # type: ignore[no-any-return]

    async def retry(self, job_id: str) -> tuple[str, int]:
        """Put it back to the queue: `again` or `goes-on`, and the attempt; or `runs`, `done`, `gone`."""
        reply, attempt = await self._call("retry", self._job(job_id), [])
        return reply.decode(), int(attempt)

    def _job(self, job_id: str) -> list[str]:
        return [self.keys.job(job_id), self.keys.job_claim(job_id)]

    async def _call(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        with memory_errors():
            return await self.redis.register_script(_source(name))(keys=keys, args=arguments)


def _flat(fields: dict[str, Any]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
