"""Engines: one file each, all behind one protocol, found by entry point. Here the one for a model is opened.

Not for: what an engine must provide (`engine.py`), nor what one does inside.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.errors import EngineError, UsageError
from kinestream_workers.engines.engine import Engine, EngineOptions, Image
from kinestream_workers.engines.warmup import warm_up, warm_up_within
from kinestream_workers.models import resolve_model
from kinestream_workers.modes import engine_in_mode, in_mode

if TYPE_CHECKING:  # so that mypy holds ours to the protocol
    from kinestream_workers.engines.mediapipe import MediapipeEngine
    from kinestream_workers.engines.null import NullEngine
    from kinestream_workers.engines.rtmo import RtmoEngine
    from kinestream_workers.engines.rtmpose import RtmposeEngine
    from kinestream_workers.engines.timed import TimedEngine

    _OURS: tuple[type[Engine], ...] = (RtmoEngine, RtmposeEngine, MediapipeEngine, TimedEngine, NullEngine)

__all__ = [
    "Engine",
    "EngineOptions",
    "Image",
    "engine_class",
    "engine_names",
    "open_engine",
    "warm_up",
    "warm_up_within",
]

_log = logging.getLogger(__name__)

GROUP = "kinestream.engines"
"""Entry points of this group are engine classes; their names are what `--engine` takes."""


def open_engine(
    model: str | os.PathLike[str],
    options: EngineOptions | None = None,
    *,
    engine: str | None = None,
    mode: str | None = None,
) -> Engine:
    """Open a model (as `resolve_model` takes it) with the engine of that name, or the one for the file's
    ending.

    Raises `UsageError` if there is no such engine or mode, `ModelError` if the file is not there or no such
    model, `EngineError` if the engine cannot be loaded or does not come up.
    """
    engine = engine_in_mode(engine, mode)
    path = resolve_model(in_mode(os.fspath(model), mode))
    return engine_class(path, engine)(path, options or EngineOptions())


def engine_class(path: Path, engine: str | None = None) -> type[Engine]:
    """The engine of that name, or the one for the file's ending; loads no model, and raises as above."""
    return _named(engine) if engine else _for_suffix(path.suffix)


def engine_names() -> list[str]:
    """The engines that are installed, Kinestream's own first."""
    return [entry.name for entry in _entries()]


def _entries() -> list[EntryPoint]:
    """All engines, ours first: what another package installs never takes over what worked without it."""
    found = entry_points(group=GROUP)
    return sorted(
        found, key=lambda entry: (entry.dist is None or entry.dist.name != "kinestream", entry.name)
    )


def _named(name: str) -> type[Engine]:
    for entry in _entries():
        if entry.name == name:
            return _load(entry)
    raise UsageError(f"there is no engine {name!r}; there are {', '.join(engine_names())}")


def _for_suffix(suffix: str) -> type[Engine]:
    taken = []
    for entry in _entries():
        try:
            engine = _load(entry)
        except EngineError as error:  # one that is broken must not take the others with it
            _log.warning("%s", error)
            continue
        if suffix.lower() in engine.suffixes:
            return engine
        taken += [f"{ending} ({entry.name})" for ending in engine.suffixes]
    raise UsageError(
        f"no engine takes a model that ends in {suffix or 'nothing'}, there are {', '.join(taken)}; "
        "one can be named with --engine"
    )


def _load(entry: EntryPoint) -> type[Engine]:
    try:
        loaded: type[Engine] = entry.load()
    except Exception as error:  # whatever another package's module does on import
        raise EngineError(f"the engine {entry.name} cannot be loaded: {error}") from error
    return loaded
