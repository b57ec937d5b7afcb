"""The size from a header: what OpenCV decodes, or refused where it might see another; and free of cost."""

from __future__ import annotations

import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headers import jpeg_header, png_header, segment, start_of_frame
from kinestream.errors import MessageError
from kinestream.imageheader import encoded_size
from kinestream.messages import Frame
from samples import frame

sizes = st.integers(1, 40)


def picture(width: int, height: int, channels: int = 3, dtype: str = "uint8") -> NDArray[np.integer]:
    """Noise, always the same."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(5).integers(0, 255, shape).astype(dtype)


def encode(extension: str, image: NDArray[np.integer], *options: int) -> bytes:
    """The image as OpenCV encodes it."""
    done, data = cv2.imencode(extension, image, [*options])
    assert done
    return data.tobytes()


def decoded_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of what OpenCV decodes, as the worker asks it to; None if it cannot."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else (image.shape[1], image.shape[0])


@settings(max_examples=60, deadline=None)
@given(
    width=sizes,
    height=sizes,
    channels=st.sampled_from([1, 3]),
    quality=st.integers(0, 100),
    progressive=st.integers(0, 1),
    optimize=st.integers(0, 1),
    restart=st.integers(0, 3),
)
def test_every_jpeg_that_opencv_writes(
    width: int, height: int, channels: int, quality: int, progressive: int, optimize: int, restart: int
) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    options += [cv2.IMWRITE_JPEG_OPTIMIZE, optimize, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    data = encode(".jpg", picture(width, height, channels), *options)
    assert encoded_size("jpeg", data) == decoded_size(data) == (width, height)


@settings(max_examples=40, deadline=None)
@given(
    width=sizes, height=sizes, channels=st.sampled_from([1, 3, 4]), dtype=st.sampled_from(["uint8", "uint16"])
)
def test_every_png_that_opencv_writes(width: int, height: int, channels: int, dtype: str) -> None:
    data = encode(".png", picture(width, height, channels, dtype))
    assert encoded_size("png", data) == decoded_size(data) == (width, height)


def exif(orientation: int, thumbnail: bytes) -> bytes:
    """An APP1 segment with one orientation tag, and a thumbnail behind it."""
    tag = b"\x12\x01\x03\x00\x01\x00\x00\x00" + bytes([orientation, 0, 0, 0])
    return segment(0xE1, b"Exif\0\0II*\x00\x08\x00\x00\x00\x01\x00" + tag + b"\x00\x00\x00\x00" + thumbnail)


def test_neither_a_thumbnail_nor_an_orientation_changes_the_size() -> None:
    inner = encode(".jpg", picture(8, 6))
    outer = encode(".jpg", picture(40, 20))
    data = outer[:2] + exif(6, inner) + segment(0xFE, inner) + outer[2:]
    assert encoded_size("jpeg", data) == decoded_size(data) == (40, 20)
    turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert turned is not None
    assert turned.shape[:2] == (40, 20)  # so a worker that did not ask to ignore it would decode another size


@pytest.mark.parametrize("second", [start_of_frame(9, 9), start_of_frame(90, 90, 0xC2)])
def test_the_first_of_two_sizes_counts_and_opencv_decodes_no_other(second: bytes) -> None:
    parts, rest = segments(encode(".jpg", picture(40, 20)))
    after = b"\xff\xd8" + b"".join(parts) + second + rest
    assert encoded_size("jpeg", after) == (40, 20)
    assert decoded_size(after) in (None, (40, 20))
    before = b"\xff\xd8" + second + b"".join(parts) + rest
    assert encoded_size("jpeg", before) != (40, 20)
    assert decoded_size(before) is None


def test_fill_bytes_before_a_marker_are_allowed() -> None:
    outer = encode(".jpg", picture(40, 20))
    data = outer[:2] + b"\xff\xff\xff" + segment(0xFE, b"note") + b"\xff" * 7 + outer[2:]
    assert encoded_size("jpeg", data) == decoded_size(data) == (40, 20)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCF])
def test_every_kind_of_jpeg_tells_its_size(marker: int) -> None:
    tables = (
        segment(0xDB, bytes(65))
        + segment(0xC4, bytes(17))
        + segment(0xDD, b"\x00\x04")
        + segment(0xCC, b"\x00\x01")
    )
    data = jpeg_header(1920, 1080, before=segment(0xE0, b"JFIF\0") + tables, marker=marker)
    assert encoded_size("jpeg", data) == (1920, 1080)


HIDDEN = start_of_frame(60_000, 60_000)
BROKEN_JPEGS = {
    "empty": b"",
    "no JPEG": b"GIF89a" + bytes(20),
    "a PNG": png_header(5, 5),
    "only its start": b"\xff\xd8",
    "cut in the size": jpeg_header(0x0909, 9)[:10],
    "cut in a segment": b"\xff\xd8" + segment(0xE0, bytes(100))[:50],
    "a segment beyond the end": b"\xff\xd8\xff\xe0\xff\xff" + bytes(20),
    "empty width": jpeg_header(0, 9),
    "empty height, told later": jpeg_header(9, 0) + segment(0xDC, b"\x00\x09"),
    "segment length 0": jpeg_header(9, 9, before=b"\xff\xe0\x00\x00"),
    "segment length 1": jpeg_header(9, 9, before=b"\xff\xe0\x00\x01"),
    "end before size": jpeg_header(9, 9, before=b"\xff\xd9"),
    "picture before size": jpeg_header(9, 9, before=segment(0xDA, bytes(6))),
    "start twice": jpeg_header(9, 9, before=b"\xff\xd8"),
    "reserved marker": jpeg_header(9, 9, before=segment(0x42, HIDDEN)),
    "hierarchical": jpeg_header(9, 9, before=segment(0xDE, bytes(6))),
    # libjpeg skips what is no marker, and would find the hidden size behind it
    "hidden behind stuffing": jpeg_header(9, 9, before=b"\xff\x00\x00\x0f" + HIDDEN),
    "hidden behind a stray byte": jpeg_header(9, 9, before=b"\x00" + HIDDEN),
    "hidden behind a restart marker": jpeg_header(9, 9, before=b"\xff\xd0" + HIDDEN),
    "endless segments": jpeg_header(9, 9, before=segment(0xFE) * 5000),
    "endless fill bytes": jpeg_header(9, 9, before=b"\xff" * 5000),
}


@pytest.mark.parametrize("data", BROKEN_JPEGS.values(), ids=BROKEN_JPEGS.keys())
def test_a_broken_jpeg_header_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match=r"JPEG header|jpeg header"):
        encoded_size("jpeg", data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        png_header(5, 5)[:23],
        jpeg_header(5, 5),
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        png_header(5, 5).replace(b"IHDR", b"IDAT"),
        png_header(5, 5).replace(b"\x0d", b"\x0e"),
        png_header(0, 5),
        png_header(5, 0),
    ],
)
def test_a_broken_png_header_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError, match=r"PNG header|png header"):
        encoded_size("png", data)


def segments(data: bytes) -> tuple[list[bytes], bytes]:
    """The segments of a JPEG before its picture, and the picture."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found, data[at:]


WHOLE = [
    encode(".jpg", picture(37, 23)),
    encode(".jpg", picture(37, 23, 1)),
    encode(".jpg", picture(37, 23), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
]
PIECES = [
    *[start_of_frame(9, 9), start_of_frame(90, 70, 0xC2), exif(6, WHOLE[0]), segment(0xFE, b"note")],
    *[
        b"\xff",
        b"\xff\xff",
        b"\x00",
        b"\xff\x00",
        b"\xff\xd0",
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\x01",
        b"\xff\xda",
    ],
    *[b"\xff\xe0\x00\x00", b"\xff\xfe\x00\x02", segment(0xDC, b"\x00\x10"), segment(0xC8, b"123"), b"note"],
    *[segment(0x42, start_of_frame(90, 90)), b"\xff\x00\x00\x0f" + start_of_frame(90, 90)],
]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_opencv_decodes_has_the_size_that_was_read_or_was_refused(data: st.DataObject) -> None:
    parts, rest = segments(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts) - 1))
        match data.draw(st.sampled_from(["insert", "insert", "swap", "change"])):
            case "insert":
                parts.insert(at, data.draw(st.sampled_from(PIECES)))
            case "swap":
                parts[0], parts[at] = parts[at], parts[0]
            case _:
                # Never the high byte of a size: OpenCV would pay for it.
                byte = data.draw(
                    st.sampled_from([i for i in range(min(12, len(parts[at]))) if i not in (5, 7)] or [0])
                )
                value = data.draw(st.sampled_from([0, 1, 2, 8, 0xC0, 0xC2, 0xD8, 0xDA, 0xFF]))
                parts[at] = parts[at][:byte] + bytes([value]) + parts[at][byte + 1 :]
    made = b"\xff\xd8" + b"".join(parts) + rest
    try:
        read = encoded_size("jpeg", made)
    except MessageError:
        return
    assert read[0] < 2**16
    if max(read) < 300:
        assert decoded_size(made) in (None, read)


@settings(max_examples=300, deadline=None)
@given(
    codec=st.sampled_from(["jpeg", "png"]),
    start=st.sampled_from([b"", b"\xff\xd8\xff", png_header(3, 3)[:16]]),
    rest=st.binary(max_size=60),
)
def test_arbitrary_bytes_have_a_size_or_are_refused(codec: str, start: bytes, rest: bytes) -> None:
    try:
        width, height = encoded_size(codec, start + rest)
    except MessageError:
        return
    assert width >= 1
    assert height >= 1


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_a_hundred_bytes_that_claim_60000_x_60000_pixels_cost_nothing(codec: str) -> None:
    header = {"jpeg": jpeg_header(60_000, 60_000), "png": png_header(60_000, 60_000)}[codec]
    claim = header + bytes(100 - len(header))
    good = frame(codec=codec, data={"jpeg": jpeg_header(640, 720), "png": png_header(640, 720)}[codec])
    packed = good.pack().replace(good.data, claim).replace(bytes([0xC4, len(good.data)]), b"\xc4\x64")
    Frame.unpack(good.pack())  # whatever is made once is made
    tracemalloc.start()
    try:
        with pytest.raises(MessageError, match="60000x60000"):
            Frame.unpack(packed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000  # decoded, it would be 10.8 GB


def test_a_png_bomb_is_as_large_as_its_header_says_and_so_refused() -> None:
    rows = zlib.compress(bytes(10_000_000), 9)
    bomb = png_header(60_000, 60_000) + b"\0\0\0\0" + len(rows).to_bytes(4, "big") + b"IDAT" + rows
    with pytest.raises(MessageError, match="60000x60000"):
        frame(codec="png", data=bomb)


def test_megabytes_of_fill_bytes_or_empty_segments_are_left_unread() -> None:
    for before in (b"\xff" * 30_000_000, segment(0xFE) * 7_000_000):  # read to the end, they take seconds
        with pytest.raises(MessageError, match="within 1000 segments"):
            encoded_size("jpeg", jpeg_header(9, 9, before=before))
