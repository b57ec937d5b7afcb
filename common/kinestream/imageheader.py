"""The size of an encoded image, from its header alone: nothing is decoded and nothing is allocated.

A 100-byte JPEG may claim 60,000×60,000 pixels; whoever decodes it without looking pays for 10 GB. The reading
is stricter than a decoder's, never more lenient: where libjpeg would skip a stray byte and go on to find
another size behind it, this refuses. Sources: ITU T.81, annex B (JPEG markers) and RFC 2083 (PNG, its IHDR
chunk comes first).
"""

from __future__ import annotations

from kinestream.errors import MessageError

_PNG_START = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + b"IHDR"

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BEFORE_IT = frozenset(
    {0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
)  # DHT, DAC, DQT, DRI, COM, APP0 to APP15
_FILL = 0xFF

_MAX_STEPS = 1000
"""Segments and fill bytes before the size; a colour profile and a preview take about 100. Without a limit,
32 MB of fill bytes would keep a reader busy for seconds."""


def encoded_size(codec: str, data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of a `jpeg` or `png` image as stored: EXIF orientation does not count.

    Raises `MessageError` if the header is not of that codec, is cut short, or names an empty image (as a JPEG
    does whose height follows later, in a DNL segment: no decoder here reads those).
    """
    width, height = _png_size(data) if codec == "png" else _jpeg_size(data)
    if width < 1 or height < 1:
        raise MessageError(f"the {codec} header names an empty image, {width}x{height}")
    return width, height


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 24 or not data.startswith(_PNG_START):
        raise MessageError("the data has no PNG header")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    if not data.startswith(b"\xff\xd8"):
        raise MessageError("the data has no JPEG header")
    at = 2
    for _ in range(_MAX_STEPS):
        if at + 9 > len(data):
            raise MessageError("the JPEG header is cut short")
        if data[at] != 0xFF:
            raise MessageError(f"the JPEG header is broken at byte {at}")
        marker = data[at + 1]
        if marker == _FILL:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _START_OF_FRAME:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker not in _BEFORE_IT:
            raise MessageError(f"the JPEG header has an unexpected marker, FF {marker:02X}, at byte {at}")
        at += 2 + length
    raise MessageError(f"the JPEG header does not tell its size within {_MAX_STEPS} segments")
