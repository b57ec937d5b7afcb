"""Frames stream to results stream: reading, batching, inference, committing. Or all in one process, without
streams: `RealTimePoseEstimator`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinestream_workers.estimate import Estimate
    from kinestream_workers.estimator import RealTimePoseEstimator

__all__ = ["Estimate", "RealTimePoseEstimator"]

_HOMES = {"Estimate": "estimate", "RealTimePoseEstimator": "estimator"}


def __getattr__(name: str) -> Any:
    """Import the estimator when it is first used: every command imports this package, and needs no OpenCV."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
