"""Sources of pictures behind one interface; `open_source` picks the right one by what was typed.

Not for: reading anything itself; each kind of source has a file of its own beside this one.
"""

from __future__ import annotations

import re
from functools import partial
from glob import has_magic
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kinestream.errors import SourceError, UsageError
from kinestream.placeholders import fill_secrets
from kinestream_ingest.pacing import Pace
from kinestream_ingest.sources.hidden import Hidden
from kinestream_ingest.sources.readahead import TIMEOUT_S
from kinestream_ingest.sources.source import (
    Away,
    NoPicture,
    Refused,
    Source,
    SourceFrame,
    camera_name,
)

__all__ = [
    "TIMEOUT_S",
    "Away",
    "NoPicture",
    "Refused",
    "Source",
    "SourceFrame",
    "open_source",
    "usual_camera",
]

_KINDS = (
    "a source is a video file, pictures (a folder, a pattern, images://…), a webcam (0, /dev/video0, "
    "webcam://0), a camera at rtsp://… or http://…, - (MJPEG from standard input), or "
    "testcard://?option=value&…"
)


def open_source(text: str, *, pace: Pace | None = None, timeout_s: float = TIMEOUT_S) -> Source:
    """Open what `text` names: files, pictures, a webcam, a network camera, the test card.

    The first picture has been read when this returns. `pace` None leaves it to the source: cameras and the
    test card keep the clock, files are read as fast as their frames are taken. `timeout_s` is how long a
    webcam or a network camera may send nothing, here and later.
    Placeholders of secrets are filled in (see `kinestream.placeholders`). Raises `SourceError`, one line
    without credentials, for whatever is unknown, missing or undecodable; `Away` if it may be there later.
    """
    filled = fill_secrets(text)
    try:
        source = _open(filled.source, pace, timeout_s)
    except UsageError as error:
        raise type(error)(filled.hide(str(error))) from None
    return Hidden(source, filled) if filled.secrets else source


def usual_camera(text: str) -> str:
    """What the camera is called that `text` names, unless somebody says otherwise: as when it is open."""
    filled = fill_secrets(text)
    return camera_name(filled.hide(_usual_camera(filled.source)))


def _usual_camera(text: str) -> str:
    match _scheme(text):
        case "webcam":
            from kinestream_ingest.sources.webcam import webcam_name

            return webcam_name(text)
        case "rtsp" | "rtsps" | "http" | "https":
            from kinestream_ingest.sources.address import parse_address
            from kinestream_ingest.sources.rtspoptions import take_options

            return parse_address(take_options(text)[0]).camera
        case "faulty":
            return _usual_camera(text.partition("source=")[2])
        case other:  # these are there or not; only `faulty://` can make one of them away
            return other


def _scheme(text: str) -> str:
    """Which kind of source is meant, with or without a scheme."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return _scheme_of_path(text) if scheme is None else scheme[1].lower()


def _open(text: str, pace: Pace | None, timeout_s: float) -> Source:
    match _scheme(text):
        case "testcard":
            from kinestream_ingest.sources.testcard import TestCardSource

            return TestCardSource(text, pace or "camera")
        case "webcam":
            from kinestream_ingest.sources.webcam import WebcamSource

            return WebcamSource(text, pace, timeout_s=timeout_s)
        case "images":
            from kinestream_ingest.sources.images import ImagesSource

            return ImagesSource(text, pace)
        case "rtsp" | "rtsps" | "http" | "https":
            from kinestream_ingest.sources.network import open_network

            return open_network(text, pace=pace, timeout_s=timeout_s)
        case "stdin":
            from kinestream_ingest.sources.stdin import StdinSource

            return StdinSource(pace, timeout_s=timeout_s)
        case "watch":
            raise SourceError(
                "a watched folder is served by a producer: kinestream camera add NAME watch:///folder"
            )
        case "faulty":
            from kinestream_ingest.sources.faulty import FaultySource

            return FaultySource(
                text,
                partial(_open, pace=pace, timeout_s=timeout_s),
                newest_wins=pace in (None, "camera"),
                timeout_s=timeout_s,
            )
        case "file":
            from kinestream_ingest.sources.video_file import VideoFileSource

            path = _path(text) if text.lower().startswith("file://") else text
            if not path or not Path(path).exists():
                shown = re.sub(
                    r".*@", "…@", path
                )  # of a URL that was mistyped, what stands there is a password
                raise SourceError(f"there is no video file {shown or 'without a name'}; {_KINDS}")
            return VideoFileSource(path, pace or "unpaced")
        case unknown:
            raise SourceError(f"{unknown}:// is no kind of source that is known here; {_KINDS}")


def _scheme_of_path(text: str) -> str:
    """Which kind of source is meant by what is no URL."""
    from kinestream_ingest.sources.images import SUFFIXES

    path = Path(text)
    if text == "-":
        return "stdin"
    if re.fullmatch(r"\d{1,3}", text) or text.startswith("/dev/"):
        return "webcam"
    if text and (path.is_dir() or path.suffix.lower() in SUFFIXES or (has_magic(text) and not path.exists())):
        return "images"
    return "file"


def _path(url: str) -> str:
    """The path in a file URL (RFC 8089)."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise SourceError(
            f"a file URL has an absolute path and no host, as in file:///videos/jump.mp4; {_KINDS}"
        )
    return unquote(parts.path)
