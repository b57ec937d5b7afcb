"""URLs of cameras: checked before they are used, and never shown with what lets somebody in.

Text made for people shows `Address.shown`: scheme, host, port and path. User and password are left out, and
so are the query, which many cameras take passwords in, and the rest of a path that looks like a query.
Not for: connecting (see `network.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from kinestream.errors import SourceError
from kinestream_ingest.sources.source import camera_name

SCHEMES = ("rtsp", "rtsps", "http", "https")

_LIKE_A_QUERY = re.compile(r"/[^/]*(?:=|%3d).*", re.IGNORECASE)
"""Widespread cheap cameras are reached at /user=admin_password=…_channel=1_stream=0.sdp."""

_MAX_SHOWN = 200
"""Characters: what is shown becomes a text field of messages and a cell of tables."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a camera is: `url` is for connecting only, `shown` for everybody, `camera` is its usual name."""

    url: str = field(repr=False)
    scheme: str
    shown: str
    camera: str


def parse_address(url: str) -> Address:
    """Take a URL apart; raises `SourceError`, which never repeats the URL, if it cannot be used."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text may repeat a part of the password
        raise _bad("cannot be read") from None
    if parts.scheme not in SCHEMES:
        raise _bad("begins with none of " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    # An @ behind the host may be the end of a password with a bare / ? or #, and the "host" a part of it.
    if "@" in parts.path + parts.query + parts.fragment:
        raise _bad("has an @ behind its host")
    if not host:
        raise _bad("has no host")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise _bad("has spaces or control characters in it")
    place = f"[{host}]" if ":" in host else host
    path = _LIKE_A_QUERY.sub("/…", parts.path)
    shown = f"{parts.scheme}://{place}{f':{port}' if port is not None else ''}{path}"
    return Address(
        url=f"{parts.scheme}{url[len(parts.scheme) :]}",  # libav knows schemes in small letters only
        scheme=parts.scheme,
        shown=shown[:_MAX_SHOWN],
        camera=camera_name(f"{host}{unquote(path)}", "camera"),
    )


def _bad(why: str) -> SourceError:
    return SourceError(
        f"the URL of the camera {why}; inside a user or a password, write / ? # @ : % as "
        "%2F %3F %23 %40 %3A %25"
    )
