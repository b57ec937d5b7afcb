"""What the keypoints of a person mean: their names, in order, and which of them are joined by a limb.

Source: the COCO keypoint annotation format (17 points). Not for: drawing (see `drawing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A named set of keypoints: `names` in message order, `limbs` as pairs of indices into it."""

    name: str
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]

    def index(self, keypoint: str) -> int:
        """Index of a keypoint by name, e.g. `left_hip`."""
        return self.names.index(keypoint)


COCO17 = Skeleton(
    name="coco17",
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    limbs=(
        (0, 1), (0, 2), (1, 3), (2, 4),
        (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
        (5, 11), (6, 12), (11, 12),
        (11, 13), (13, 15), (12, 14), (14, 16),
    ),
)  # fmt: skip

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO17,)}
