"""What the keypoints of a person mean: their names, in order, and which of them are joined by a limb.

Sources: the COCO keypoint annotation format (17 points), MediaPipe's pose landmarker guide (33 points, by its
names), and the Halpe full-body dataset's body and feet (26 points, by the names of rtmlib). Not for: drawing
(see `drawing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A named set of keypoints: `names` in message order, `limbs` as pairs of indices into it.

    `details` are keypoints that lie so close together that in most pictures they would cover one another.
    """

    name: str
    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    details: frozenset[int] = frozenset()

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

HALPE26 = Skeleton(
    name="halpe26",
    names=(
        *COCO17.names, "head", "neck", "hip",
        "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel",
    ),
    limbs=(
        (0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6),
        (17, 18), (18, 19), (18, 5), (18, 6), (5, 7), (7, 9), (6, 8), (8, 10),
        (19, 11), (19, 12), (11, 13), (13, 15), (12, 14), (14, 16),
        (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
    ),
    details=frozenset((22, 23)),
)  # fmt: skip
"""COCO's 17 first, in COCO's order; then the top of the head, the middles of shoulders and hips, and both
feet.
"""

BLAZEPOSE33 = Skeleton(
    name="blazepose33",
    names=(
        "nose", "left_eye_inner", "left_eye", "left_eye_outer",
        "right_eye_inner", "right_eye", "right_eye_outer",
        "left_ear", "right_ear", "mouth_left", "mouth_right",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
        "left_heel", "right_heel", "left_foot_index", "right_foot_index",
    ),
    limbs=(
        (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10),
        (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
        (15, 17), (17, 19), (15, 19), (15, 21), (16, 18), (18, 20), (16, 20), (16, 22),
        (11, 23), (12, 24), (23, 24),
        (23, 25), (25, 27), (24, 26), (26, 28),
        (27, 29), (29, 31), (27, 31), (28, 30), (30, 32), (28, 32),
    ),
    details=frozenset(range(11)) | frozenset(range(17, 23)),
)  # fmt: skip
"""MediaPipe's: the face in eleven points, each hand in three, and a heel and a toe (`foot_index`)."""

SKELETONS = {skeleton.name: skeleton for skeleton in (COCO17, HALPE26, BLAZEPOSE33)}
