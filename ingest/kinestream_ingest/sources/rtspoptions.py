"""Options of a network camera that are ours and stand behind a #, as in rtsp://camera/stream#transport=udp.

What is behind a # never goes to a camera, so none of its own options can be meant. `?transport=udp` is taken
as well where it is the whole query, as people write it. Not for: the camera's address (see `address.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from kinestream.errors import SourceError, UsageError
from kinestream_ingest.sources.cameraclock import Wanted, parse_wanted

TRANSPORTS = ("tcp", "udp")

_KNOWN = "transport=tcp or udp, clock=auto, camera or arrival, decoder=auto, cpu, or a device type of FFmpeg"


@dataclass(frozen=True, slots=True)
class Options:
    """How to read a camera: RTSP over `transport`, times of which clock, decoded on which device ("cpu",
    "auto", or a device type of FFmpeg, such as vaapi or cuda).
    """

    transport: str = "tcp"
    clock: Wanted = "auto"
    decoder: str = "cpu"


def take_options(url: str) -> tuple[str, Options]:
    """The URL without our options, and these; raises `SourceError`, which repeats nothing else of the URL."""
    bare, _, fragment = url.partition("#")
    if "@" in fragment:  # the end of a password with a bare #: that is told by who takes the URL apart
        return url, Options()
    given = dict(parse_qsl(fragment, keep_blank_values=True))
    address, _, query = bare.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if asked and asked.keys() <= {"transport", "clock", "decoder"}:
        bare, given = address, asked | given
    if unknown := given.keys() - {"transport", "clock", "decoder"}:
        raise SourceError(f"unknown option {min(unknown)[:20]!r} of a camera; there are {_KNOWN}")
    transport = given.get("transport", "tcp")
    if transport not in TRANSPORTS:
        raise SourceError(f"transport is tcp or udp, got {transport[:20]!r}")
    try:
        clock = parse_wanted(given.get("clock", "auto"))
    except UsageError as error:
        raise SourceError(str(error)) from None
    return bare, Options(transport, clock, given.get("decoder", "cpu"))
