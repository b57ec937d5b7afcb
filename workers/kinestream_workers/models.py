"""Which file `--model` means: a packaged graph, a published model by its name, or a path.

Not for: how a published model comes here (`modelcache.py`), or what is in the file (the engine checks that
when it opens it).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from kinestream.errors import ModelError
from kinestream_workers.zoo import NAMES, ZooModel, zoo_model

AUTO = "auto"
"""`FAVOURITE` where it is in the cache or can be downloaded, else `FALLBACK`."""

FAVOURITE = "rtmo-s"
FALLBACK = "testcard"

AUTO_S = 120.0
"""What AUTO spends on a download, at most: a worker that starts could work with its fallback. What came until
then is not lost."""

NAMED_S = 1800.0
"""What a model that was asked for by its name may take: the largest one over a slow line."""

PACKAGED = {
    "testcard": "testcard-dynamic.onnx",
    "testcard-fixed": "testcard-fixed.onnx",
    "null": "null.null",
}
"""Models that need no download: the test card's graph, its batch axis dynamic or fixed at 1; and no model."""

GRAPHS = Path(__file__).parent / "graphs"

_log = logging.getLogger(__name__)


def resolve_model(model: str | os.PathLike[str]) -> Path:
    """Return the file of a model's name, downloaded if need be, or of a path; `./testcard` is a path.

    May take up to `NAMED_S`. Raises `ModelError` if there is no such file, or it cannot be had or read.
    """
    model = os.fspath(model)
    if model == AUTO:
        model = choose_model(AUTO)
    if model in NAMES:
        path = _published(zoo_model(model))
    else:
        path = GRAPHS / PACKAGED[model] if model in PACKAGED else Path(model).expanduser()
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        names = ", ".join([AUTO, *NAMES, *PACKAGED])
        raise ModelError(
            f"cannot read model {model}: {error.strerror}; give the path of an RTMO .onnx file, or {names}"
        ) from error
    if empty:
        raise ModelError(f"model {model} is an empty file")
    return path


def is_here(model: str) -> bool:
    """Whether all files of a published model are in the cache."""
    from kinestream_workers.modelcache import cached

    return all(cached(part) for part in parts_of(zoo_model(model)))


def parts_of(model: ZooModel) -> list[ZooModel]:
    """The published files that a model needs, itself first."""
    return [model, *([zoo_model(model.detector)] if model.detector else [])]


def _published(model: ZooModel) -> Path:
    """Return the file of a model, downloaded if need be; of two files, the one that names both."""
    from kinestream_workers.modelcache import cache_folder, fetch

    path, *others = [fetch(part, patience_s=NAMED_S) for part in parts_of(model)]
    if not others:
        return path
    from kinestream_workers.engines.pairfile import SUFFIX, write_pair

    pair = cache_folder() / f"{model.name}{SUFFIX}"
    write_pair(pair, detector=others[0].name, pose=path.name)
    return pair


def choose_model(model: str) -> str:
    """Return what AUTO stands for here and now, and say so in a line of the log; anything else as it is.

    May take up to `AUTO_S`, for a download.
    """
    if model != AUTO:
        return model
    from kinestream_workers.modelcache import Unavailable, cached, fetch

    try:
        favourite = zoo_model(FAVOURITE)
        path = cached(favourite) or fetch(favourite, patience_s=AUTO_S)
    except ModelError as error:
        why = error.why if isinstance(error, Unavailable) else error
        _log.warning("model %s: %s, which finds nobody in pictures of people: %s", AUTO, FALLBACK, why)
        return FALLBACK
    _log.info("model %s: %s, %s", AUTO, FAVOURITE, path)
    return FAVOURITE
