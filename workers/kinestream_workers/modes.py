"""What a quality's name, or `auto`, means in a mode: RTMO in one stage, or a detector and RTMPose in two.

The words are rtmlib's, and a mode is the engine of that name. Not for: which file a model's name means
(`zoo.py`).
"""

from __future__ import annotations

from kinestream.errors import UsageError
from kinestream_workers.models import PACKAGED
from kinestream_workers.zoo import PAIRS, QUALITIES

MODES = ("rtmo", "rtmpose")
"""What `--mode` takes, the first one being what names mean without it."""

TWO_STAGES = {"lightweight": "rtmpose-s", "balanced": "rtmpose-m", "performance": "rtmpose-x"}
"""What the names of qualities mean in the mode `rtmpose`."""


def in_mode(model: str, mode: str | None) -> str:
    """Return what `model` means in a mode: another name for a quality's or `auto`, everything else as it is.

    `auto` is `rtmpose-s` in two stages, and must be had: who asks for them is not helped by anything else.
    Raises `UsageError` for a mode that there is not, or a published model of the other one.
    """
    if mode is None:
        return model
    if mode not in MODES:
        raise UsageError(f"mode must be {' or '.join(MODES)}, got {mode!r}")
    if mode == "rtmpose" and model in ("auto", *TWO_STAGES):
        return TWO_STAGES.get(model, TWO_STAGES["lightweight"])
    others = PAIRS if mode == "rtmo" else (*QUALITIES, *PACKAGED)
    if model in others:
        there_are = QUALITIES if mode == "rtmo" else PAIRS
        raise UsageError(f"{model} is no model of the mode {mode}, which has {', '.join(there_are)}")
    return model


def engine_in_mode(engine: str | None, mode: str | None) -> str | None:
    """The engine that was asked for by either name; raises `UsageError` if they are two."""
    if mode and engine and mode != engine:
        raise UsageError(f"the mode {mode} is the engine {mode}, and the engine {engine} was asked for")
    return engine or mode
