"""RTMO's models by name: which file each one means, where it is published, its SHA-256 where that is known.

The addresses are read from rtmlib, so that they change with it. Importing rtmlib loads OpenCV and
onnxruntime, so it happens when a name is really looked up. Not for: downloading (see `modelcache.py`).
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

NAMES = (*QUALITIES, *filter(None, QUALITIES.values()))
"""What `--model` takes for a published model."""

_TINY = "rtmo-t_8xb32-600e_body7-416x416-f48f75cb_20231219.zip"
"""OpenMMLab publishes it beside `rtmo-s`; rtmlib does not list it."""

SHA256 = {
    "rtmo-t": "20aad6e2e42359cac1c5b4a0b2da00e29bfe91a72a782fdcf287d273a04c1b24",
    "rtmo-s": "d0703d40d19f3921da51ae725402d5fdae4d2478c7442072d3101bd396f370d8",
}
"""Of the ONNX file, not of the zip. Published by people who use these files, not by OpenMMLab."""


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One published model: a zip file with an ONNX file in it."""

    name: str
    quality: str
    """`lightweight`, `balanced`, `performance`, or nothing."""
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
    def sha256(self) -> str | None:
        """SHA-256 of the ONNX file in hexadecimal digits, None where it is not known."""
        return SHA256.get(self.name)


def zoo_model(name: str) -> ZooModel:
    """Return the model of one of `NAMES`.

    Raises `ModelError` if rtmlib does not list it as expected, `UsageError` if KINESTREAM_MODEL_MIRROR is no
    URL.
    """
    name = next((size for size, quality in QUALITIES.items() if name == quality), name)
    try:
        from rtmlib.tools.file import get_mirror_url
        from rtmlib.tools.solution.body import Body

        listed = str(Body.RTMO_MODE[QUALITIES[name] or QUALITIES["rtmo-s"]]["pose"])
        url = listed if QUALITIES[name] else listed.rpartition("/")[0] + "/" + _TINY
        file = url.rpartition("/")[2]
        if not (url.startswith("https://") and file.startswith(f"{name}_") and file.endswith(".zip")):
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
        quality=QUALITIES[name],
        urls=(f"{mirror}/{file}",) if mirror else tuple(filter(None, public)),
    )


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
