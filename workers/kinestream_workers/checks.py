"""Checks of what a worker needs: its packages, its model, the device that really comes up.

Not for: Redis and the host (see `kinestream.checks`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import distributions

from kinestream.doctor import Asked, Finding
from kinestream.errors import KinestreamError

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
"""Packages that all write the module onnxruntime: of two, whichever came last has won, in part."""

_OPENCVS = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
"""Packages that all write the module cv2; two of one version live together, of two versions they do not."""


def check_packages(asked: Asked) -> Iterator[Finding]:
    """Find packages that write the same module."""
    # What a broken installation left behind may have no name.
    versions = {found.name.lower(): found.version for found in distributions() if found.name}
    runtimes = {name: versions[name] for name in _RUNTIMES if name in versions}
    shown = ", ".join(f"{name} {version}" for name, version in runtimes.items()) or "not installed"
    if len(runtimes) == 1:
        yield Finding("ok", "onnxruntime", shown)
    else:
        mend = "pip uninstall all of them, then pip install the one that is wanted (docs/engines.md)"
        yield Finding("error", "onnxruntime", shown, mend)
    opencvs = {name: versions[name] for name in _OPENCVS if name in versions}
    shown = ", ".join(f"{name} {version}" for name, version in opencvs.items()) or "not installed"
    if len(set(opencvs.values())) == 1:
        yield Finding("ok", "opencv", shown)
    else:
        yield Finding("error", "opencv", shown, "install one version of all of them: their files are mixed")


def check_model(asked: Asked) -> Iterator[Finding]:
    """Open the model as a worker would, and infer once."""
    from kinestream_workers.engines import EngineOptions, open_engine, warm_up
    from kinestream_workers.models import AUTO, FALLBACK, FAVOURITE, is_here
    from kinestream_workers.modes import engine_in_mode, in_mode
    from kinestream_workers.zoo import NAMES, PAIRS

    try:
        name, model = engine_in_mode(asked.engine, asked.mode), in_mode(asked.model, asked.mode)
        options = EngineOptions(device=asked.device, runtime=asked.runtime, precision=asked.precision)
    except KinestreamError as error:
        yield Finding("error", "model", str(error))
        return
    model = FAVOURITE if model == AUTO else model
    if model in NAMES and not is_here(model):  # a doctor downloads nothing
        says = f"{model} is not here; looking at {FALLBACK}"
        yield Finding("warning", "model", says, f"kinestream models pull {model}")
        model, name = FALLBACK, None if model in PAIRS else name
    complaints = _Complaints()
    logger = logging.getLogger("kinestream_workers")
    logger.addHandler(complaints)
    try:
        engine = open_engine(model, options, engine=name)
        try:
            costs_ms = warm_up(engine, 1)
        finally:
            engine.close()
    except KinestreamError as error:
        yield Finding("error", "model", str(error))
        return
    finally:
        logger.removeHandler(complaints)
    for complaint in complaints.texts:
        yield Finding("warning", "device", complaint, "docs/engines.md says what each device needs")
    yield Finding("ok", "model", f"{engine.description}, {costs_ms[1]:.1f} ms a blank picture")


class _Complaints(logging.Handler):
    """Keeps what is logged as a warning while a model is opened: that is how a device's failure is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
