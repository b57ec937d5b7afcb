"""Published models by name: which file each one means, where it is, its SHA-256 where that is known.

The addresses are read from rtmlib, so that they change with it. Importing rtmlib loads OpenCV and
onnxruntime, so it happens when a name is really looked up. Not for: downloading (see `modelcache.py`), nor
what a quality's name means in which mode (`modes.py`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from kinestream.errors import ModelError, UsageError

MIRROR_VARIABLE = "KINESTREAM_MODEL_MIRROR"
"""Environment variable: URL of a folder that has the zip files, asked in place of the public servers."""

QUALITIES = {"rtmo-t": "", "rtmo-s": "lightweight", "rtmo-m": "balanced", "rtmo-l": "performance"}
"""RTMO's sizes, smallest first, and rtmlib's name for the quality of each; it has none for `rtmo-t`."""

HALPE = "-halpe26"
"""Ends the names of those that see feet as well."""

_SIZES = {"s": "lightweight", "m": "balanced", "x": "performance"}
_DETECTORS = {"yolox-tiny": "lightweight", "yolox-m": "balanced", "yolox-x": "performance"}

PAIRS = {
    f"rtmpose-{size}{feet}": detector
    for feet in ("", HALPE)
    for size, detector in zip(_SIZES, _DETECTORS, strict=True)
}
"""RTMPose's sizes, and the detector that rtmlib uses with each: a model of two files."""

NAMES = (*QUALITIES, *filter(None, QUALITIES.values()), *PAIRS)
"""What `--model` takes for a published model."""

FILES = (*QUALITIES, *PAIRS, *_DETECTORS)
"""All that are published as a file each."""

_TINY = "rtmo-t_8xb32-600e_body7-416x416-f48f75cb_20231219.zip"
"""OpenMMLab publishes it beside `rtmo-s`; rtmlib does not list it."""

SHA256 = {
    "rtmo-t": "20aad6e2e42359cac1c5b4a0b2da00e29bfe91a72a782fdcf287d273a04c1b24",
    "rtmo-s": "d0703d40d19f3921da51ae725402d5fdae4d2478c7442072d3101bd396f370d8",
    "rtmpose-s": "9aeb635b83f86aea45cf45d85798f7eba1a162de8e0d721c44e54fe5eebaf47d",
}
"""Of the ONNX file, not of the zip. Published by people who use these files, not by OpenMMLab."""


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One published model: a zip file with an ONNX file in it."""

    name: str
    quality: str
    """`lightweight`, `balanced`, `performance`, or nothing: rtmlib's word for it."""
    urls: tuple[str, ...]
    """Where the zip file is, in the order in which they are tried."""

    @property
    def zip_file(self) -> str:
        """Name of the zip file."""
        return PurePosixPath(urlsplit(self.urls[0]).path).name

    @property
    def file(self) -> str:
        """Name of the ONNX file in the cache; inside the zip files all have the same one."""
        return PurePosixPath(self.zip_file).stem + ".onnx"

    @property
    def detector(self) -> str | None:
        """Name of the model that it needs beside it, if any."""
        return PAIRS.get(self.name)

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the ONNX file in hexadecimal digits, None where it is not known."""
        return SHA256.get(self.name)


def zoo_model(name: str) -> ZooModel:
    """Return the model of one of `FILES`, or of RTMO's qualities.

    Raises `ModelError` if rtmlib does not list it as expected, `UsageError` if KINESTREAM_MODEL_MIRROR is no
    URL.
    """
    name = next((size for size, quality in QUALITIES.items() if name == quality), name)
    try:
        from rtmlib.tools.file import get_mirror_url

        quality, url = _listed(name)
        file = url.rpartition("/")[2]
        begin = name.removesuffix(HALPE).replace("yolox-", "yolox_")
        right = file.startswith(f"{begin}_") and (HALPE in file) == name.endswith(HALPE)
        if not (url.startswith("https://") and right and file.endswith(".zip")):
            raise ValueError(f"{name} is at {url}")
        public = (url, get_mirror_url(url))
    except (ImportError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "rtmlib":
            raise  # the command says how to install it
        raise ModelError(
            f"this version of rtmlib does not list {name} where Kinestream looks for it "
            f"({type(error).__name__}: {error}): install another rtmlib, or give the path of a file"
        ) from error
    mirror = _mirror()
    return ZooModel(
        name=name,
        quality=quality,
        urls=(f"{mirror}/{file}",) if mirror else tuple(filter(None, public)),
    )


def _listed(name: str) -> tuple[str, str]:
    """The quality and the address that rtmlib has for one of `FILES`; raises whatever its layout leads to."""
    from rtmlib.tools.solution.body import Body
    from rtmlib.tools.solution.body_with_feet import BodyWithFeet

    if name in QUALITIES:
        quality = QUALITIES[name]
        url = str(Body.RTMO_MODE[quality or QUALITIES["rtmo-s"]]["pose"])
        return quality, url if quality else url.rpartition("/")[0] + "/" + _TINY
    if name in _DETECTORS:
        return "", str(Body.MODE[_DETECTORS[name]]["det"])
    quality = _SIZES[name.removeprefix("rtmpose-").removesuffix(HALPE)]
    listed = (BodyWithFeet if name.endswith(HALPE) else Body).MODE[quality]
    if listed["det"] != Body.MODE[_DETECTORS[PAIRS[name]]]["det"]:
        raise ValueError(f"{name} goes with {listed['det']}")
    return quality, str(listed["pose"])


def _mirror() -> str:
    """The URL in KINESTREAM_MODEL_MIRROR without the slash at its end, empty if there is none.

    Raises `UsageError` without showing it, as there may be a password in it.
    """
    given = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    if not given:
        return ""
    try:
        parts = urlsplit(given)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{MIRROR_VARIABLE} is the URL of a folder: http:// or https://, without a login, ? or #"
        )
    return given
