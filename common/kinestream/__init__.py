"""Kinestream's contract and client: messages, keys, delivery, and `subscribe` for whoever wants the results.

What other programs import. Not for: capturing (kinestream_ingest) or inference (kinestream_workers).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kinestream.errors import (
    DeliveryError,
    EngineError,
    Fenced,
    JobFailed,
    KinestreamError,
    MessageError,
    ModelError,
    RedisUnavailable,
    RunLost,
    SourceError,
    UnsupportedVersion,
    UsageError,
)
from kinestream.keys import Keys

if TYPE_CHECKING:
    from kinestream.bundle import Bundle, Member
    from kinestream.bundles import subscribe_bundles
    from kinestream.jobs.client import Job, submit
    from kinestream.messages import ANY_CAMERA, Frame, Person, PoseResult
    from kinestream.redis import connect
    from kinestream.subscriber import current_cursor, subscribe

__all__ = [
    "ANY_CAMERA",
    "Bundle",
    "DeliveryError",
    "EngineError",
    "Fenced",
    "Frame",
    "Job",
    "JobFailed",
    "Keys",
    "KinestreamError",
    "Member",
    "MessageError",
    "ModelError",
    "Person",
    "PoseResult",
    "RedisUnavailable",
    "RunLost",
    "SourceError",
    "UnsupportedVersion",
    "UsageError",
    "connect",
    "current_cursor",
    "submit",
    "subscribe",
    "subscribe_bundles",
]

_HOMES = {
    "ANY_CAMERA": "messages",
    "Bundle": "bundle",
    "Frame": "messages",
    "Member": "bundle",
    "Person": "messages",
    "PoseResult": "messages",
    "Job": "jobs.client",
    "connect": "redis",
    "submit": "jobs.client",
    "current_cursor": "subscriber",
    "subscribe": "subscriber",
    "subscribe_bundles": "bundles",
}
"""Names whose modules are imported when they are first used: redis-py alone takes 0.1 s, and `kinestream
--help` imports this package too."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
