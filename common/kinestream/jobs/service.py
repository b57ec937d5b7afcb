"""`kinestream jobs`, taking up one job: whether it is to be done here, and what if it cannot be read.

    over or taken by another   nothing is to be done
    told to stop               let go of at once; whoever serves goes on where this one stood

Not for: when jobs are run (`queue.py`), nor doing one (`work.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.errors import KinestreamError, UsageError
from kinestream.jobs.folders import Folders
from kinestream.jobs.store import KEEP_S, LEASE_S, JobStore
from kinestream.jobs.work import Lost, Work, in_words
from kinestream.keys import Keys, check_camera
from kinestream.logs import about
from kinestream.redis import through_outages

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Service:
    """Does jobs for one process. `hosts` are those whose URLs may be read."""

    redis: Redis
    url: str
    folders: Folders
    hosts: frozenset[str] = frozenset()
    keep_s: int = KEEP_S
    lease_s: float = LEASE_S
    keys: Keys = field(default_factory=Keys)
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}")

    async def run_job(self, job_id: str) -> bool:
        """Do a job if it is to be done; return false if somebody else does it, or Redis is full.

        Raises only what is a bug, or cancelled.
        """
        try:
            check_camera(job_id)
        except UsageError as error:  # its name would lead out of the folder of results
            _log.warning("what is no job is left alone: %s", error)
            return True
        store = JobStore(self.redis, self.keys)
        owner = f"{self.name}-{secrets.token_hex(2)}"
        claim = partial(store.claim, job_id, owner, self.lease_s)
        try:
            reply, number = await through_outages(claim, what="taking up a job")
        except OutOfMemoryError:
            return False
        if reply != "ok":
            _log.info("%s: nothing to do, it is %s", job_id, reply, extra=about(job_id))
            return reply != "taken"
        try:
            record = await through_outages(partial(store.read, job_id), what="taking up a job")
        except (KinestreamError, ValueError, TypeError) as error:
            words = {"error": f"what is asked for cannot be read: {in_words(error)}"}
            settle = partial(store.settle, job_id, owner, "failed", words, self.keep_s)
            await through_outages(settle, what=f"settling {job_id}")
            return True
        if record is None:
            return True
        _log.warning("%s: taken up (claim %d): %s", job_id, number, record.request.video, extra=about(job_id))
        work = Work(self, store, record, owner, number)
        try:
            await work.do()
        except Lost:
            _log.warning("%s: another has taken it up", job_id, extra=about(job_id))
            return False
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.lease_s / 3):
                    await work.let_go()
            raise
        return True
