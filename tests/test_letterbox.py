"""The letterbox: what lies where in a slot. That it equals rtmlib's is shown in `test_rtmo_parity.py`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream_workers.engines.letterbox import PAD, Letterboxed, letterbox_into

GRADIENT = np.dstack(
    np.broadcast_arrays(np.linspace(0, 255, 60), np.linspace(0, 255, 40)[:, None], 9.0)
).astype(np.uint8)
"""60×40, blue to the right, green downwards: no two corners alike, and no two channels."""


def test_a_slot_is_reused_whatever_was_in_it() -> None:
    slot = np.full((3, 96, 128), np.nan, np.float32)
    for shape in [(40, 60), (60, 20), (10, 200), (96, 128), (500, 30), (40, 60)]:
        image = np.full((*shape, 3), (10, 20, 30), np.uint8)
        letterbox_into(image, slot)
        inside = slot[0] == 10
        height, width = inside.any(axis=1).sum(), inside.any(axis=0).sum()
        assert (slot[:, :height, :width] == np.array([10, 20, 30])[:, None, None]).all()
        assert (slot[:, height:] == PAD).all() and (slot[:, :, width:] == PAD).all()
        assert height == 96 or width == 128


def test_a_batch_holds_what_each_picture_alone_would_give_whatever_was_in_its_slot() -> None:
    batch, alone = Letterboxed(padding(2)), np.empty((3, 96, 128), np.float32)
    random = np.random.default_rng(7)
    shapes = [(40, 60), (40, 60), (60, 20), (60, 20), (10, 200), (96, 128), (500, 30), (40, 60)]
    for number, shape in enumerate([*shapes, *random.permutation(shapes * 4)]):
        image = random.integers(0, 255, (*shape, 3), np.uint8)
        batch.put(number % 2, image)
        assert batch.ratios[number % 2] == letterbox_into(image, alone)
        assert (batch.tensor[number % 2] == alone).all()


def test_a_picture_that_broke_off_half_way_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, alone = Letterboxed(padding(1)), np.empty((3, 96, 128), np.float32)
    small, large = np.full((20, 60, 3), 7, np.uint8), np.full((96, 128, 3), 9, np.uint8)
    batch.put(0, small)
    with monkeypatch.context() as broken:
        broken.setattr("kinestream_workers.engines.letterbox._pad", None)
        with pytest.raises(TypeError):
            batch.put(0, large)
    batch.put(0, small)
    letterbox_into(small, alone)
    assert (batch.tensor[0] == alone).all()


def padding(size: int) -> NDArray[np.float32]:
    return np.full((size, 3, 96, 128), PAD, np.float32)


def test_only_its_own_slot_is_written() -> None:
    tensor = np.zeros((3, 3, 64, 64), np.float32)
    letterbox_into(GRADIENT, tensor[1])
    assert tensor[1].all(axis=0).any() and not tensor[0].any() and not tensor[2].any()


def test_the_scale_is_truncated_as_rtmlib_does() -> None:
    slot = np.empty((3, 640, 640), np.float32)
    ratio = letterbox_into(np.zeros((994, 1768, 3), np.uint8), slot)
    assert ratio == 640 / 1768
    assert (slot[0, :359] == 0).all() and (slot[0, 359:] == PAD).all()  # 994 × ratio is 359.8


def test_a_very_long_image_keeps_a_pixel() -> None:
    slot = np.empty((3, 64, 64), np.float32)
    ratio = letterbox_into(np.zeros((1, 900, 3), np.uint8), slot)
    assert ratio == 64 / 900
    assert (slot[:, 0] == 0).all() and (slot[:, 1:] == PAD).all()
