"""RTMO, batched: images in, people out, one network for all people of an image.

The contract of an RTMO file, as mmdeploy exports it: `input` float32 [B, 3, H, W], BGR 0–255, letterboxed
top-left with 114; `dets` [B, N, 5] (x1, y1, x2, y2, score) and `keypoints` [B, N, 17, 3] (x, y, score) in
pixels of the input. N is another number at every run, rows may be padding (score 0), B is dynamic or fixed.
What comes out equals what rtmlib's `RTMO` returns for each image on the same file, but for its person of
zeros where it finds nobody; a test holds that.

Not for: running a file (`network.py`), the letterbox (`letterbox.py`), choosing the batch's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError
from kinestream.messages import MAX_PEOPLE, Person
from kinestream.skeletons import COCO17
from kinestream_workers.engines.engine import EngineOptions, Image
from kinestream_workers.engines.letterbox import PAD, Letterboxed
from kinestream_workers.engines.network import Network, check_finite, rows_of
from kinestream_workers.engines.nms import keep_best

JOINTS = len(COCO17.names)


class RtmoEngine:
    """One RTMO file, loaded (see `kinestream_workers.engines.Engine` for the methods).

    `fixed_batch` is the file's batch axis, None where it is dynamic; `input_size` is (width, height) in
    pixels. Raises `ModelError` if the file breaks the contract, and what `open_runner` raises.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self._network = network = Network(path, options, "RTMO")
        network.declared("dets", ("B", "N", 5))
        network.declared("keypoints", ("B", "N", JOINTS, 3))
        self.name = network.name
        self.skeleton = COCO17.name
        self.fixed_batch, self.input_size = network.fixed_batch, network.input_size

    @property
    def description(self) -> str:
        """E.g. `rtmo testcard-dynamic on CPUExecutionProvider, 2 threads, batch dynamic, 640x640`."""
        return f"rtmo {self.name} on {self._network.where}"

    def new_batch(self, size: int) -> Letterboxed:
        """A tensor for `size` images, all padding."""
        return Letterboxed(self._network.new_tensor(size, PAD))

    def fill(self, batch: Letterboxed, slot: int, image: Image) -> None:
        """Letterbox an image into its slot."""
        batch.put(slot, image)

    def infer(self, batch: Letterboxed, slots: Sequence[int]) -> list[tuple[Person, ...]]:
        """People of these slots; a fixed batch axis is run chunk by chunk."""
        people: list[tuple[Person, ...]] = []
        for part in self._network.chunks(len(slots)):
            chunk = slots[part]
            dets, keypoints = self._run(rows_of(batch.tensor, chunk))
            ratios = [batch.ratios[slot] for slot in chunk]
            # It ends with the ratios: what fills up a fixed axis has none.
            people.extend(map(_people, dets, keypoints, ratios))
        return people

    def close(self) -> None:
        """Nothing to do: the network goes with the engine."""

    def _run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        dets, keypoints = self._network.run(["dets", "keypoints"], images)
        batch, candidates = self.fixed_batch or len(images), dets.shape[1:2]
        if dets.shape != (batch, *candidates, 5) or keypoints.shape != (batch, *candidates, JOINTS, 3):
            raise EngineError(
                f"{self.name} gave dets {list(dets.shape)} and keypoints {list(keypoints.shape)} "
                f"for a batch of {batch}, wanted [{batch}, N, 5] and [{batch}, N, {JOINTS}, 3]"
            )
        return dets, keypoints


def _people(dets: NDArray[np.float32], keypoints: NDArray[np.float32], ratio: float) -> tuple[Person, ...]:
    """One image's rows [N, 5] and [N, 17, 3], in network pixels, as people in image pixels, best first."""
    boxes = dets[:, :4] / ratio  # float32, as rtmlib's
    kept = keep_best(boxes, dets[:, 4])[:MAX_PEOPLE]  # a message holds no more
    if not kept.size:
        return ()
    joints = keypoints[kept]
    joints[:, :, :2] /= ratio
    check_finite(boxes[kept], dets[kept, 4], joints)
    rows = zip(boxes[kept].tolist(), dets[kept, 4].tolist(), joints.tolist(), strict=True)
    return tuple(
        Person(box=(x1, y1, x2, y2), score=score, keypoints=tuple((x, y, s) for x, y, s in points))
        for (x1, y1, x2, y2), score, points in rows
    )
