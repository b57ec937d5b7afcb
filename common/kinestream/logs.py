"""How log lines look: one event a line, on stderr, aligned for people or as JSON for programs.

`log_config` only describes; nothing is configured by importing Kinestream. The command applies it, programs
that import Kinestream set up logging as they like. Not for: what is worth a line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, get_args

LogFormat = Literal["text", "json"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)

LOG_FORMAT_VARIABLE = "KINESTREAM_LOG_FORMAT"
"""Environment variable for every command, which children inherit."""

_NAMES = ("camera", "run", "seq")
"""What an event is about, where it is about a frame, a run or a camera."""


def about(camera: str, run: int | None = None, seq: int | None = None) -> dict[str, Any]:
    """What a log call's `extra` shall be, so that JSON lines say what they are about."""
    return {name: value for name, value in zip(_NAMES, (camera, run, seq), strict=True) if value is not None}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message; where known camera, run, seq; a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= {name: getattr(record, name) for name in _NAMES if hasattr(record, name)}
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event)


def logs_are_json() -> bool:
    """Whether this process was told to log for programs."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def log_config(*, verbose: bool = False, form: LogFormat = "text") -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`: Kinestream's events, and warnings of others.

    `verbose` adds the debug events of both.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {
                "format": "%(asctime)s.%(msecs)03d %(levelname)-7s %(module)-10s %(message)s",
                "datefmt": "%H:%M:%S",
            },
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": form},
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
