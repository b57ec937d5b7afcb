"""JPEGs of pictures: what they show, how large they are, and pictures that are encoded once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kinestream.errors import UsageError
from kinestream.imageheader import encoded_size
from kinestream.video import Image
from kinestream_ingest import encoder as encoder_module
from kinestream_ingest.encoder import EncodedImage, EncodeError, Encoder
from kinestream_ingest.sources import SourceFrame


def encode(picture: Image, encoder: Encoder | None = None, repeat: int | None = None) -> EncodedImage:
    frame = SourceFrame(picture=lambda label: picture, captured_us=0, repeat=repeat)
    return (encoder or Encoder()).encode(frame, "")


def blobs(width: int, height: int, seed: int = 1) -> Image:
    """A picture with something smooth in it, as pictures have."""
    noise = np.random.default_rng(seed).integers(
        0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8
    )
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_shows_the_picture() -> None:
    picture = blobs(320, 200)
    image = encode(picture)
    decoded = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    assert (image.width, image.height) == (320, 200)
    assert decoded.shape == picture.shape
    assert np.abs(decoded.astype(int) - picture).mean() < 4
    assert image.encoded_ms > 0


def test_quality_is_paid_in_bytes() -> None:
    picture = blobs(320, 200)
    sizes = [len(encode(picture, Encoder(quality=quality)).data) for quality in (20, 60, 85, 100)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("size", "max_side", "shown"),
    [
        ((1280, 720), 640, (640, 360)),
        ((720, 1280), 640, (360, 640)),
        ((1768, 994), 640, (640, 360)),
        ((640, 480), 640, (640, 480)),
        ((100, 50), 640, (100, 50)),
        ((3000, 17), 100, (100, 1)),
    ],
)
def test_shrinks_to_the_longer_side_and_never_enlarges(
    size: tuple[int, int], max_side: int, shown: tuple[int, int]
) -> None:
    image = encode(blobs(*size), Encoder(max_side=max_side))
    assert encoded_size("jpeg", image.data) == shown
    assert (image.width, image.height) == size, "the source's size is not that of the image"


def test_shrinking_averages_rather_than_picks() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::4] = 255
    image = encode(stripes, Encoder(max_side=32))
    decoded = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.astype(int).std() < 3
    assert decoded.mean() == pytest.approx(64, abs=2)


def test_takes_pictures_whose_rows_are_not_contiguous() -> None:
    picture = blobs(330, 200)
    assert encode(picture[:, :320]).data == encode(picture[:, :320].copy()).data


class TestRepeats:
    def test_are_encoded_once(self) -> None:
        encoder = Encoder()
        first = encode(blobs(64, 48, 1), encoder, repeat=0)
        again = encode(blobs(64, 48, 2), encoder, repeat=0)
        other = encode(blobs(64, 48, 2), encoder, repeat=1)
        assert again.data is first.data
        assert (again.width, again.height, again.encoded_ms) == (64, 48, 0)
        assert other.data != first.data

    def test_do_not_fill_the_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoder_module, "_REPEATS_BYTES", 1)
        encoder = Encoder()
        encode(blobs(64, 48), encoder, repeat=0)
        assert encoder.full
        assert encode(blobs(64, 48), encoder, repeat=1).encoded_ms > 0
        assert encode(blobs(64, 48), encoder, repeat=1).encoded_ms > 0
        assert encode(blobs(64, 48), encoder, repeat=0).encoded_ms == 0


class TestRefusals:
    def test_of_what_jpeg_cannot_hold(self) -> None:
        with pytest.raises(EncodeError, match="1x70000 cannot be encoded"):
            encode(np.zeros((70_000, 1, 3), np.uint8))

    def test_of_an_image_that_no_frame_may_carry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoder_module, "MAX_DATA_BYTES", 1000)
        with pytest.raises(EncodeError, match=r"1000 are allowed: lower --quality or --max-side"):
            encode(blobs(320, 200))

    @pytest.mark.parametrize("numbers", [{"quality": 0}, {"quality": 101}, {"max_side": 0}, {"max_side": 15}])
    def test_of_impossible_numbers(self, numbers: dict[str, int]) -> None:
        with pytest.raises(UsageError, match="must be"):
            Encoder(**numbers)  # type: ignore[arg-type]
