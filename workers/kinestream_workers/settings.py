"""What a worker can be told. Not for: what the scripts are given (see `kinestream.delivery.Limits`)."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, field


def worker_name() -> str:
    """A name that no other worker has: host, process, and a few random characters.

    The last part is for containers, where every worker may be process 1 of hosts with equal names.
    """
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"


def _decode_threads() -> int:
    from kinestream_workers.engines.sessions import usable_cores  # slow to load, and --help needs none of it

    return min(4, usable_cores())


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Numbers of one worker; the defaults suit a CPU, where larger batches gain nothing and cost latency."""

    max_batch: int = 4
    max_wait_ms: float = 0.0
    """Frames that come while the engine is busy share the next batch anyway; to wait while it is idle makes
    batches larger, and every frame later.
    """
    max_age_ms: float = 1000.0
    """A live frame older than this (on Redis's clock) is stale: whoever watches live has seen newer ones
    since.
    """
    target_p95_ms: float | None = None
    """For live frames, from offer to commit; None leaves batches as they are set here, and drops nothing."""
    batch_is_fixed: bool = True
    """Whether a target leaves the size of batches at `max_batch`, or only keeps it below."""
    max_attempts: int = 3
    """Deliveries of a frame that fails alone, in the engine or on the way into it, until it becomes a dead
    letter.
    """
    max_deliveries: int = 6
    """A frame that was delivered more often becomes a dead letter untouched: it may be what ended each worker
    that took it. Above `max_attempts`, since workers die for other reasons too.
    """
    engine_timeout_s: float = 60.0
    """An engine that is at one batch for longer hangs: RTMO-l needs 5 s for a batch of 8 on two slow
    cores.
    """
    decode_threads: int = field(default_factory=_decode_threads)
    """Decoding a frame costs a fraction of inferring it, so a few threads keep up with any session."""
    name: str = field(default_factory=worker_name)

    def __post_init__(self) -> None:
        for setting, least in (
            ("max_batch", 1),
            ("max_attempts", 1),
            ("max_deliveries", 1),
            ("decode_threads", 1),
        ):
            if getattr(self, setting) < least:
                raise ValueError(f"{setting} must be at least {least}, got {getattr(self, setting)}")
        for setting in ("max_wait_ms", "max_age_ms", "engine_timeout_s"):
            if not getattr(self, setting) >= 0:  # nan is neither
                raise ValueError(f"{setting} must not be negative, got {getattr(self, setting)}")
        if self.target_p95_ms is not None and not 0 < self.target_p95_ms < float("inf"):
            raise ValueError(f"target_p95_ms must be more than 0, got {self.target_p95_ms}")
