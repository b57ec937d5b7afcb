"""RTMPose, in two stages: a detector finds the people of a picture, then each is looked at alone.

Slower than RTMO for a crowd and more exact for a few, and the way to feet: the model's file is a pair
(`pairfile.py`). The contract of RTMPose's own: `input` float32 [P, 3, H, W], one person each (`crops.py`);
`simcc_x` [P, K, 2·W] and `simcc_y` [P, K, 2·H] (`simcc.py`), K being 17 (COCO's) or 26 (Halpe's, with feet).
What comes out equals what rtmlib's `YOLOX` and `RTMPose` give together for each image on the same files, but
that rtmlib takes the whole picture for a person where it finds nobody; a test holds that.

The detector runs over the images of a batch; the people of all of them are then cut out, and run together, as
many at once as the batch axis allows. So a crowd in one picture and single athletes in eight cost the same.

Not for: finding people (`yolox.py`), running a file (`network.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, ModelError
from kinestream.messages import Person
from kinestream.skeletons import COCO17, HALPE26
from kinestream_workers.engines.crops import crop_into
from kinestream_workers.engines.engine import EngineOptions, Image
from kinestream_workers.engines.letterbox import PAD, Letterboxed
from kinestream_workers.engines.network import Network, check_finite
from kinestream_workers.engines.pairfile import SUFFIX, read_pair
from kinestream_workers.engines.simcc import SPLIT, keypoints_of
from kinestream_workers.engines.yolox import Boxes, PersonDetector

MAX_TOGETHER = 16
"""People that are run at once where the batch axis is dynamic: enough for a GPU, and a bound on memory, since
a batch of crowds may hold thousands.
"""

_SKELETONS = {len(skeleton.names): skeleton.name for skeleton in (COCO17, HALPE26)}


@dataclass(frozen=True, slots=True)
class RtmposeBatch:
    """What the detector sees, and the images, to cut people from."""

    letterboxed: Letterboxed
    images: list[Image | None]


class RtmposeEngine:
    """One pair (see `kinestream_workers.engines.Engine` for the methods).

    Raises `ModelError` if a file breaks its contract, and what `open_runner` raises.
    """

    suffixes: ClassVar[tuple[str, ...]] = (SUFFIX,)

    def __init__(self, path: Path, options: EngineOptions) -> None:
        pair = read_pair(path)
        self.name = path.stem
        self._detector = PersonDetector(pair.detector, options)
        self._poses = Network(pair.pose, options, "RTMPose")
        width, height = self._poses.input_size
        self._poses.declared("simcc_x", ("P", "K", SPLIT * width))
        self._poses.declared("simcc_y", ("P", "K", SPLIT * height))
        self._crops = self._poses.new_tensor(self._poses.fixed_batch or MAX_TOGETHER, 0)
        # A blank picture has nobody in it, so that no warm-up reaches this network: its first run is here.
        keypoints = self._run(1)[0].shape[1]
        if keypoints not in _SKELETONS:
            known = " or ".join(f"{count} ({name})" for count, name in _SKELETONS.items())
            raise ModelError(f"{pair.pose} gives {keypoints} keypoints a person, wanted {known}")
        self.skeleton = _SKELETONS[keypoints]

    @property
    def description(self) -> str:
        """E.g. `rtmpose rtmpose-s: yolox_tiny on …, batch 1, 416x416; rtmpose-s on …, batch dynamic,
        192x256`.
        """
        stages = (self._detector.network, self._poses)
        return f"rtmpose {self.name}: {'; '.join(f'{stage.name} on {stage.where}' for stage in stages)}"

    def new_batch(self, size: int) -> RtmposeBatch:
        """A tensor for `size` images, all padding."""
        return RtmposeBatch(Letterboxed(self._detector.network.new_tensor(size, PAD)), [None] * size)

    def fill(self, batch: RtmposeBatch, slot: int, image: Image) -> None:
        """Letterbox an image into its slot, and keep the image."""
        batch.letterboxed.put(slot, image)
        batch.images[slot] = image

    def infer(self, batch: RtmposeBatch, slots: Sequence[int]) -> list[tuple[Person, ...]]:
        """People of these slots."""
        images = [image for slot in slots if (image := batch.images[slot]) is not None]
        if len(images) != len(slots):
            raise ValueError("a slot that was never filled cannot be inferred")
        tensor, ratios = batch.letterboxed.tensor, batch.letterboxed.ratios
        found = self._detector.find(tensor, slots, [ratios[slot] for slot in slots])
        everybody = [
            (image, box) for image, boxes in zip(images, found, strict=True) for box in boxes.corners
        ]
        joints = self._look_at(everybody)
        people, begin = [], 0
        for boxes in found:
            end = begin + len(boxes.scores)
            people.append(_people(boxes, joints[begin:end]))
            begin = end
        return people

    def close(self) -> None:
        """Nothing to do: the networks go with the engine."""

    def _look_at(self, people: Sequence[tuple[Image, NDArray[np.float32]]]) -> list[NDArray[np.float64]]:
        """The keypoints [K, 3] of each of these boxes in its image."""
        joints: list[NDArray[np.float64]] = []
        for part in self._poses.chunks(len(people), MAX_TOGETHER):
            chunk = people[part]
            crops = [
                crop_into(image, box, slot) for (image, box), slot in zip(chunk, self._crops, strict=False)
            ]
            across, down = self._run(len(chunk))
            joints += [*keypoints_of(across, down, crops)]
        check_finite(*joints)
        return joints

    def _run(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """SimCC's two answers for the first `count` crops."""
        across, down = self._poses.run(["simcc_x", "simcc_y"], self._crops[:count])
        people = self._poses.fixed_batch or count
        width, height = self._poses.input_size
        keypoints = across.shape[1:2]
        if (across.shape, down.shape) != tuple(
            (people, *keypoints, SPLIT * side) for side in (width, height)
        ):
            raise EngineError(
                f"{self._poses.name} gave simcc_x {list(across.shape)} and simcc_y {list(down.shape)} for "
                f"{people} people, wanted [{people}, K, {SPLIT * width}] and [{people}, K, {SPLIT * height}]"
            )
        return across[:count], down[:count]


def _people(boxes: Boxes, joints: Sequence[NDArray[np.float64]]) -> tuple[Person, ...]:
    """One image's people; the score of a person is the detector's."""
    rows = zip(boxes.corners.tolist(), boxes.scores.tolist(), joints, strict=True)
    return tuple(
        Person(box=(x1, y1, x2, y2), score=score, keypoints=tuple((x, y, s) for x, y, s in points.tolist()))
        for (x1, y1, x2, y2), score, points in rows
    )
