"""A frame's bytes into an image: what decodes to what, what is refused, and people back into its source."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.errors import MessageError
from kinestream.messages import Codec, Frame, Person
from kinestream_workers.decoding import decode, in_source

GRADIENT = np.dstack(
    np.broadcast_arrays(np.linspace(0, 255, 60), np.linspace(0, 255, 40)[:, None], 9.0)
).astype(np.uint8)
"""60×40, blue to the right, green downwards: no two corners alike, and no two channels."""


def frame_of(data: bytes, codec: Codec, width: int = 60, height: int = 40) -> Frame:
    return Frame(
        camera="c", run=1, seq=0, captured_us=0, width=width, height=height, view=(0, 0, width, height),
        codec=codec, data=data, lane="live",
    )  # fmt: skip


def encoded(image: NDArray[np.generic], extension: str, *options: int) -> bytes:
    return cv2.imencode(extension, image, options)[1].tobytes()


def rotated_by_exif(jpeg: bytes) -> bytes:
    """The same JPEG with the EXIF orientation 6: a viewer shows it turned by a quarter."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    tiff = b"MM\x00\x2a" + struct.pack(">I", 8) + struct.pack(">H", 1) + entry + struct.pack(">I", 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_lossless_codecs_give_the_very_pixels() -> None:
    for codec, data in (("png", encoded(GRADIENT, ".png")), ("raw", GRADIENT.tobytes())):
        decoded = decode(frame_of(data, codec))
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, GRADIENT)


def test_a_jpeg_is_blue_green_red() -> None:
    decoded = decode(frame_of(encoded(GRADIENT, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100), "jpeg"))
    assert np.abs(decoded.astype(int) - GRADIENT).max() <= 8


@pytest.mark.parametrize("sampling", [0x111111, 0x211111, 0x221111, 0x411111])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("size", [(60, 40), (61, 43), (640, 360)])
def test_a_jpeg_is_to_the_bit_what_opencv_makes_of_it(
    sampling: int, progressive: int, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(3).integers(-40, 40, (size[1], size[0], 3))
    image = np.clip(cv2.resize(GRADIENT, size).astype(int) + noise, 0, 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    for data in (encoded(image, ".jpg", *options), encoded(image[..., 1], ".jpg")):
        by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(decode(frame_of(data, "jpeg", *size)), by_opencv)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_greyscale_becomes_three_channels(extension: str) -> None:
    decoded = decode(frame_of(encoded(GRADIENT[..., 0], extension), "png" if extension == ".png" else "jpeg"))
    assert decoded.shape == (40, 60, 3)
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def test_png_with_alpha_and_with_16_bits() -> None:
    transparent = np.dstack([GRADIENT, np.zeros((40, 60), np.uint8)])
    np.testing.assert_array_equal(decode(frame_of(encoded(transparent, ".png"), "png")), GRADIENT)
    deep = decode(frame_of(encoded(GRADIENT.astype(np.uint16) * 257, ".png"), "png"))
    assert deep.dtype == np.uint8
    np.testing.assert_array_equal(deep, GRADIENT)


def test_an_exif_rotation_is_ignored() -> None:
    plain = encoded(GRADIENT, ".jpg")
    turned = rotated_by_exif(plain)
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (60, 40, 3), (
        "no EXIF here"
    )
    np.testing.assert_array_equal(decode(frame_of(turned, "jpeg")), decode(frame_of(plain, "jpeg")))


@pytest.mark.parametrize(
    "data, codec",
    [
        (encoded(GRADIENT, ".jpg")[:-100], "jpeg"),
        (encoded(GRADIENT, ".jpg")[:300], "jpeg"),
        (encoded(GRADIENT, ".png")[:-60], "png"),
        (encoded(GRADIENT, ".png")[:33], "png"),
        (encoded(GRADIENT, ".png").replace(b"IDAT", b"iDAT"), "png"),
    ],
    ids=[
        "jpeg without its end",
        "jpeg header only",
        "png without its end",
        "png header only",
        "png without pixels",
    ],
)
def test_what_cannot_be_decoded_is_a_message_error(data: bytes, codec: Codec) -> None:
    with pytest.raises(MessageError, match=f"the {codec} .*cannot be decoded") as caught:
        decode(frame_of(data, codec))
    assert "\n" not in str(caught.value)


def test_an_error_of_opencv_is_a_message_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("imdecode: size too large")

    frame = frame_of(encoded(GRADIENT, ".png"), "png")
    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(MessageError, match="the png cannot be decoded"):
        decode(frame)


def test_a_size_other_than_the_headers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frame_of(encoded(GRADIENT, ".png"), "png")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: GRADIENT[:30])
    with pytest.raises(MessageError, match="claims 60x40 in its header and decodes to 60x30"):
        decode(frame)


PERSON = Person(box=(0, 0, 30, 20), score=0.5, keypoints=((60, 40, 1.0), (0, 10, 0.25)))


def test_people_of_a_frame_that_shows_its_whole_source_stay_as_they_are() -> None:
    assert in_source([PERSON], frame_of(GRADIENT.tobytes(), "raw")) == (PERSON,)
    assert in_source([], frame_of(GRADIENT.tobytes(), "raw")) == ()


def test_people_come_back_through_crop_and_resize() -> None:
    """The view's own corners are found at its corners in the source, though the image was encoded smaller."""
    frame = Frame(
        camera="c", run=1, seq=0, captured_us=0, width=640, height=480, view=(40.5, 20, 120, 160),
        codec="png", data=encoded(GRADIENT, ".png"), lane="live",
    )  # fmt: skip
    (person,) = in_source([PERSON], frame)
    assert person.box == (40.5, 20, 100.5, 100)
    assert person.keypoints == ((160.5, 180, 1.0), (40.5, 60, 0.25))
    assert person.score == 0.5
