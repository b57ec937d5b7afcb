"""How log lines look: one event a line, aligned, on stderr.

`log_config` only describes; nothing is configured by importing Kinestream. The command applies it, programs
that import Kinestream set up logging as they like. Not for: what is worth a line.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any


def log_config(*, verbose: bool = False) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`: Kinestream's events, and warnings of others.

    `verbose` adds the debug events of both.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "format": "%(asctime)s.%(msecs)03d %(levelname)-7s %(module)-10s %(message)s",
                "datefmt": "%H:%M:%S",
            },
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "line"},
        },
        "root": {"handlers": ["stderr"], "level": "DEBUG" if verbose else "WARNING"},
        "loggers": {
            name: {"level": "DEBUG" if verbose else "INFO"}
            for name in ("kinestream", "kinestream_ingest", "kinestream_workers", "kinestream_consumers")
        },
    }


@contextlib.contextmanager
def log_above() -> Iterator[None]:
    """Let log lines scroll above a display of rich: it has replaced `sys.stderr`, but not for handlers."""
    moved = []
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.__stderr__:
            moved.append((handler, handler.setStream(sys.stderr)))
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
