"""Reading a job's video: `kinestream ingest` as a child, for the run of one key, to the run's end.

The key is what makes the child replaceable: started again, it goes on after the last frame that Redis has.
Not for: the results (`collecting.py`), nor what a run's end means for the job (`analysis.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from redis.asyncio import Redis

from kinestream.cli import REDIS_URL_VARIABLE
from kinestream.errors import KinestreamError, UsageError
from kinestream.jobs.store import JobRecord
from kinestream.keys import Keys
from kinestream.logs import about
from kinestream.processes import Child, be_nice, start_child
from kinestream.redis import through_outages
from kinestream.run import run_of_token

_DEATHS = 3
"""Ends of `kinestream ingest` by a signal: once is bad luck, again and again has a reason."""

_NICENESS = 5
"""Who reads a whole video, as fast as it can, shall not keep a live camera's frames from being encoded."""

_LOOK_S = 0.2

_log = logging.getLogger(__name__)


class Reading:
    """Reads the video of one job."""

    def __init__(self, redis: Redis, url: str, record: JobRecord, *, keys: Keys) -> None:
        self._redis = redis
        self._url = url
        self._job = record
        self._keys = keys

    async def run(self, video: str, run_key: str) -> None:
        """Let `kinestream ingest` offer what is left of the video, again if a signal ends it.

        Nothing is done if the run is over already. Raises `UsageError` with the child's last words if it ends
        and leaves no ended run, `KinestreamError` if it is killed again and again.
        """
        run, is_open = await self.run_of(run_key)
        if run and not is_open:
            return  # whoever worked on it before had read it to the end
        said: deque[str] = deque(maxlen=20)
        for _ in range(_DEATHS):
            code = await self._ingest(video, run_key, said)
            run, is_open = await self.run_of(run_key)
            if run and not is_open:
                return
            if code >= 0:
                raise UsageError(_last_words(said) or f"kinestream ingest ended with exit code {code}")
            _log.warning("%s: ingest was ended by signal %d", self._job.id, -code, extra=about(self._job.id))
        raise KinestreamError(
            f"kinestream ingest was ended by a signal {_DEATHS} times, the last was {-code}"
        )

    async def run_of(self, run_key: str) -> tuple[int, bool]:
        """The number of the run that was begun with this key, 0 if there is none; and whether it is open."""
        return await through_outages(
            lambda: run_of_token(self._redis, self._job.id, run_key, keys=self._keys),
            what=f"looking for the run of {self._job.id}",
        )

    async def _ingest(self, video: str, run_key: str, said: deque[str]) -> int:
        """Run `kinestream ingest` and return its exit code; it never outlives this."""
        options = self._job.request.options
        words = ["ingest", video, "--camera", self._job.id, "--lane", "every-frame", "--no-realtime"]
        words += ["--every", str(options.every), "--run-key", run_key]
        if options.max_side:
            words += ["--max-side", str(options.max_side)]

        def say(line: str) -> None:
            said.append(line)
            _log.info("%s", line, extra=about(self._job.id))

        child = start_child(words, name=self._job.id, say=say, environment={REDIS_URL_VARIABLE: self._url})
        be_nice(_NICENESS, child.pid)
        try:
            return await ended(child)
        finally:
            # Not asked to end: it would end its run, and nobody could go on with it.
            if child.exit_code is None:
                child.kill()


async def ended(child: Child) -> int:
    """Wait for a child without holding up the loop; return its exit code."""
    while child.exit_code is None:  # noqa: ASYNC110 - a process is no event
        await asyncio.sleep(_LOOK_S)
    return await asyncio.to_thread(child.wait)


def _last_words(said: deque[str]) -> str:
    """The error that a command has printed: its last line, without the names before it."""
    lines = [line.partition(" | ")[2] for line in said if " | " in line]
    return lines[-1].removeprefix("kinestream ingest: ") if lines else ""
