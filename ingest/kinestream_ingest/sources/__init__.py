"""Sources of pictures behind one interface; `open_source` picks the right one by what was typed.

Not for: reading anything itself; each kind of source has a file of its own beside this one.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kinestream.errors import SourceError
from kinestream_ingest.pacing import Pace
from kinestream_ingest.sources.source import Source, SourceFrame

__all__ = ["Source", "SourceFrame", "open_source"]

_KINDS = "a source is a video file, or testcard://?option=value&…"


def open_source(text: str, *, pace: Pace | None = None) -> Source:
    """Open what `text` names: the path of a video file, `file://…` or `testcard://…`.

    The first picture has been read when this returns. `pace` None leaves it to the source: a test card keeps
    the clock as a camera does, a file is read as fast as its frames are taken.
    Raises `SourceError`, one line without credentials, for whatever is unknown, missing or undecodable.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    match scheme and scheme[1].lower():
        case "testcard":
            from kinestream_ingest.sources.testcard import TestCardSource

            return TestCardSource(text, pace or "camera")
        case None | "file":
            from kinestream_ingest.sources.video_file import VideoFileSource

            path = _path(text) if scheme else text
            if not path or not Path(path).exists():
                raise SourceError(f"there is no video file {path or 'without a name'}; {_KINDS}")
            return VideoFileSource(path, pace or "unpaced")
        case unknown:
            raise SourceError(f"{unknown}:// is no kind of source that is known here; {_KINDS}")


def _path(url: str) -> str:
    """The path in a file URL (RFC 8089)."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise SourceError(
            f"a file URL has an absolute path and no host, as in file:///videos/jump.mp4; {_KINDS}"
        )
    return unquote(parts.path)
