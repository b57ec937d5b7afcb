"""RTMO, batched: images in, people out, one network for all people of an image.

The contract of an RTMO file, as mmdeploy exports it: `input` float32 [B, 3, H, W], BGR 0–255, letterboxed
top-left with 114; `dets` [B, N, 5] (x1, y1, x2, y2, score) and `keypoints` [B, N, 17, 3] (x, y, score) in
pixels of the input. N is another number at every run, rows may be padding (score 0), B is dynamic or fixed.
What comes out equals what rtmlib's `RTMO` returns for each image on the same file, but for its person of
zeros where it finds nobody; a test holds that.

Not for: opening sessions (`sessions.py`), the letterbox (`letterbox.py`), choosing the batch's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, ModelError
from kinestream.messages import MAX_PEOPLE, Person
from kinestream.skeletons import COCO17
from kinestream_workers.engines.engine import EngineOptions, Image
from kinestream_workers.engines.letterbox import PAD, letterbox_into
from kinestream_workers.engines.nms import keep_best
from kinestream_workers.engines.sessions import first_line, open_session

JOINTS = len(COCO17.names)


@dataclass(frozen=True, slots=True)
class RtmoBatch:
    """A tensor [size, 3, H, W] of letterboxed images, and network pixels per image pixel of each."""

    tensor: NDArray[np.float32]
    ratios: list[float]


class RtmoEngine:
    """One RTMO file in one onnxruntime session (see `kinestream_workers.engines.Engine` for the methods).

    `fixed_batch` is the file's batch axis, None where it is dynamic; `input_size` is (width, height) in
    pixels. Raises `ModelError` if the file breaks the contract, and what `open_session` raises.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self._session = open_session(path, options)
        self.name = path.stem
        self.skeleton = COCO17.name
        self.fixed_batch, self.input_size = _check_contract(self._session, path)

    @property
    def description(self) -> str:
        """E.g. `rtmo testcard-dynamic on CPUExecutionProvider, 2 threads, batch dynamic, 640x640`."""
        threads = self._session.get_session_options().intra_op_num_threads
        width, height = self.input_size
        return (
            f"rtmo {self.name} on {self._session.get_providers()[0]}, {threads} thread{'s'[: threads != 1]}, "
            f"batch {self.fixed_batch or 'dynamic'}, {width}x{height}"
        )

    def new_batch(self, size: int) -> RtmoBatch:
        """A tensor for `size` images, all padding."""
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        width, height = self.input_size
        return RtmoBatch(np.full((size, 3, height, width), PAD, np.float32), [1.0] * size)

    def fill(self, batch: RtmoBatch, slot: int, image: Image) -> None:
        """Letterbox an image into its slot."""
        batch.ratios[slot] = letterbox_into(image, batch.tensor[slot])

    def infer(self, batch: RtmoBatch, slots: Sequence[int]) -> list[tuple[Person, ...]]:
        """People of these slots; a fixed batch axis is run chunk by chunk."""
        step = self.fixed_batch or max(1, len(slots))
        people: list[tuple[Person, ...]] = []
        for start in range(0, len(slots), step):
            chunk = slots[start : start + step]
            dets, keypoints = self._run(_rows(batch.tensor, chunk))
            ratios = [batch.ratios[slot] for slot in chunk]
            people.extend(map(_people, dets, keypoints, ratios))  # ends with ratios: padding has none
        return people

    def close(self) -> None:
        """Nothing to do: the session goes with the engine."""

    def _run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self.fixed_batch and len(images) < self.fixed_batch:
            missing = self.fixed_batch - len(images)
            images = np.concatenate([images, np.full((missing, *images.shape[1:]), PAD, np.float32)])
        try:
            dets, keypoints = self._session.run(["dets", "keypoints"], {"input": images})
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise EngineError(
                f"{self.name} failed on a batch of {len(images)}: {first_line(error)}"
            ) from error
        batch, candidates = len(images), dets.shape[1:2]
        if dets.shape != (batch, *candidates, 5) or keypoints.shape != (batch, *candidates, JOINTS, 3):
            raise EngineError(
                f"{self.name} gave dets {list(dets.shape)} and keypoints {list(keypoints.shape)} "
                f"for a batch of {batch}, wanted [{batch}, N, 5] and [{batch}, N, {JOINTS}, 3]"
            )
        return dets, keypoints


def _rows(tensor: NDArray[np.float32], slots: Sequence[int]) -> NDArray[np.float32]:
    """The images of these slots: a view where they lie side by side, as nearly always, else a copy."""
    first, count = slots[0], len(slots)
    if list(slots) == list(range(first, first + count)):
        return tensor[first : first + count]
    return tensor[list(slots)]


def _people(dets: NDArray[np.float32], keypoints: NDArray[np.float32], ratio: float) -> tuple[Person, ...]:
    """One image's rows [N, 5] and [N, 17, 3], in network pixels, as people in image pixels, best first."""
    boxes = dets[:, :4] / ratio  # float32, as rtmlib's
    kept = keep_best(boxes, dets[:, 4])[:MAX_PEOPLE]  # a message holds no more
    if not kept.size:
        return ()
    joints = keypoints[kept]
    joints[:, :, :2] /= ratio
    if not all(np.isfinite(numbers).all() for numbers in (boxes[kept], dets[kept, 4], joints)):
        raise EngineError("the network gave a box, score or keypoint that is not a finite number")
    rows = zip(boxes[kept].tolist(), dets[kept, 4].tolist(), joints.tolist(), strict=True)
    return tuple(
        Person(box=(x1, y1, x2, y2), score=score, keypoints=tuple((x, y, s) for x, y, s in points))
        for (x1, y1, x2, y2), score, points in rows
    )


def _check_contract(session: Any, path: Path) -> tuple[int | None, tuple[int, int]]:
    """Return the fixed batch size (None: dynamic) and (width, height) of the input, or raise `ModelError`."""
    inputs = [_declared(value) for value in session.get_inputs()]
    outputs = {value.name: value for value in session.get_outputs()}
    if len(inputs) != 1 or not _fits(session.get_inputs()[0], "input", (None, 3, None, None)):
        raise ModelError(
            f"{path} is no RTMO: wanted input float [B, 3, H, W], got {', '.join(inputs) or 'no input'}"
        )
    for name, wanted in (("dets", (None, None, 5)), ("keypoints", (None, None, JOINTS, 3))):
        if name not in outputs or not _fits(outputs[name], name, wanted):
            shape = ", ".join(str(length) for length in ("B", "N", *wanted[2:]))
            got = ", ".join(map(_declared, outputs.values()))
            raise ModelError(f"{path} is no RTMO: wanted output {name} float [{shape}], got {got}")
    batch, _, height, width = session.get_inputs()[0].shape
    if not isinstance(height, int) or not isinstance(width, int):
        raise ModelError(
            f"{path} has no fixed input size, got {inputs[0]}: export it with fixed height and width"
        )
    return batch if isinstance(batch, int) else None, (width, height)


def _fits(value: Any, name: str, wanted: tuple[int | None, ...]) -> bool:
    """Whether a declared input or output can be `wanted`; a length that is open on either side fits anything.

    onnxruntime shows an undeclared rank as []; such a file is judged by what its first run gives.
    """
    if value.name != name or value.type != "tensor(float)":
        return False
    lengths = zip(value.shape, wanted, strict=False)
    return not value.shape or (
        len(value.shape) == len(wanted)
        and all(a == b or b is None or not isinstance(a, int) for a, b in lengths)
    )


def _declared(value: Any) -> str:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return f"{value.name} {kind} [{', '.join(map(str, value.shape))}]"
