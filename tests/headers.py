"""Hand-made image headers that claim any size.

Not for: images that are decoded.
"""

from __future__ import annotations

import struct


def segment(marker: int, body: bytes = b"") -> bytes:
    """One JPEG segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def start_of_frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    """The JPEG segment that tells the size; `marker` C0 is baseline, C2 progressive, C9 arithmetic."""
    return segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")


def jpeg_header(width: int, height: int, *, before: bytes = b"", marker: int = 0xC0) -> bytes:
    """The beginning of a JPEG; `before` stands between its first two bytes and the segment with the size."""
    return b"\xff\xd8" + before + start_of_frame(width, height, marker)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG, without its checksum."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
