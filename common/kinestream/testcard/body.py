"""The mannequin of the test card: how large its parts are, and where its joints lie in a given posture.

Lengths are metres, angles radians. The body's own axes are (forward, left, up); the origin is the ground
below the pelvis of the standing body. Proportions are human except for the head, which is large so that the
five markers on it do not cover each other.

Not for: pictures (see stage.py and silhouette.py), or for what the body does over time (see motions.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinestream.skeletons import COCO17

Points = NDArray[np.float64]

PELVIS_HEIGHT = 0.90
HIP_HALF_WIDTH = 0.135
TRUNK = 0.45
SHOULDER_HALF_WIDTH = 0.225
NECK_AND_HEAD = 0.275  # from the line of the shoulders to the middle of the head
HEAD_RADIUS = 0.17
THIGH = 0.425
SHANK = 0.415
ANKLE_HEIGHT = 0.085
ANKLE_HALF_WIDTH = 0.15
UPPER_ARM = 0.29
FOREARM = 0.26
# Arms hang a little away from the body, so that wrists do not cover hips.
ARM_SPREAD = 0.28

# What a picture needs beyond the 17 joints, appended to them.
NECK, HEAD, LEFT_HAND, RIGHT_HAND, LEFT_HEEL, RIGHT_HEEL, LEFT_TOE, RIGHT_TOE, LEFT_WAIST, RIGHT_WAIST = (
    range(17, 27)
)
POINTS = 27

# Face markers relative to the middle of the head, in head radii: (forward, left, up).
_FACE = {
    "nose": (0.90, 0.0, -0.42),
    "left_eye": (0.80, 0.47, 0.32),
    "right_eye": (0.80, -0.47, 0.32),
    "left_ear": (0.0, 1.10, -0.24),
    "right_ear": (0.0, -1.10, -0.24),
}
_HEEL_BACK, _TOE_AHEAD, _FIST_AHEAD, _WAIST_ABOVE = 0.06, 0.17, 0.06, 0.09


@dataclass(frozen=True, slots=True)
class Posture:
    """What the body does at one instant; pairs are (left, right)."""

    rise_m: float = 0.0  # of the pelvis, from standing
    shift_m: float = 0.0  # of the pelvis, forward
    lean: float = 0.0  # of the trunk, forward
    feet_m: tuple[float, float] = (0.0, 0.0)  # ankles, forward of the origin
    lift_m: tuple[float, float] = (0.0, 0.0)  # ankles, above their height in standing
    pitch: tuple[float, float] = (0.0, 0.0)  # of the feet; positive points the toes down
    arms: tuple[float, float] = (0.0, 0.0)  # upper arms, from hanging (0) to forward
    elbows: tuple[float, float] = (0.15, 0.15)  # bend


def pose(posture: Posture, *, face: float = 0.0) -> Points:
    """Positions of the 17 COCO joints and then of `NECK` … `RIGHT_WAIST`: (27, 3) metres, body axes.

    `face` turns the head to the left, in radians.
    """
    points = np.zeros((POINTS, 3))
    pelvis = np.array([posture.shift_m, 0.0, PELVIS_HEIGHT + posture.rise_m])
    up = np.array([np.sin(posture.lean), 0.0, np.cos(posture.lean)])
    neck = pelvis + TRUNK * up
    nod = np.array([np.sin(posture.lean / 2), 0.0, np.cos(posture.lean / 2)])  # the head stays more upright
    head = neck + NECK_AND_HEAD * nod
    points[NECK], points[HEAD] = neck, head
    _place_face(points, head, face)
    for side, sign in enumerate((1.0, -1.0)):
        left = np.array([0.0, sign, 0.0])
        shoulder = neck + SHOULDER_HALF_WIDTH * left
        hip = pelvis + HIP_HALF_WIDTH * left
        ankle = np.array([posture.feet_m[side], 0.0, ANKLE_HEIGHT + posture.lift_m[side]])
        ankle = ankle + ANKLE_HALF_WIDTH * left
        upper = _arm_direction(posture.arms[side], sign)
        lower = _arm_direction(posture.arms[side] + posture.elbows[side], sign * 0.6)
        elbow = shoulder + UPPER_ARM * upper
        wrist = elbow + FOREARM * lower
        points[_SHOULDERS[side]], points[_ELBOWS[side]], points[_WRISTS[side]] = shoulder, elbow, wrist
        points[_HIPS[side]], points[_KNEES[side]], points[_ANKLES[side]] = hip, _knee(hip, ankle), ankle
        points[LEFT_WAIST + side] = hip + _WAIST_ABOVE * up
        points[LEFT_HAND + side] = wrist + _FIST_AHEAD * lower
        sole = np.array([np.cos(posture.pitch[side]), 0.0, -np.sin(posture.pitch[side])])
        drop = 0.6 * ANKLE_HEIGHT * np.array([-sole[2], 0.0, sole[0]])
        points[LEFT_HEEL + side] = ankle - drop - _HEEL_BACK * sole
        points[LEFT_TOE + side] = ankle - drop + _TOE_AHEAD * sole
    return points


def _pair(joint: str) -> tuple[int, int]:
    return COCO17.index(f"left_{joint}"), COCO17.index(f"right_{joint}")


_SHOULDERS, _ELBOWS, _WRISTS = _pair("shoulder"), _pair("elbow"), _pair("wrist")
_HIPS, _KNEES, _ANKLES = _pair("hip"), _pair("knee"), _pair("ankle")
_FACE_JOINTS = [COCO17.index(name) for name in _FACE]
_FACE_OFFSETS = HEAD_RADIUS * np.array(list(_FACE.values()))


def _place_face(points: Points, head: Points, turn: float) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    about_up = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    points[_FACE_JOINTS] = head + _FACE_OFFSETS @ about_up.T


def _arm_direction(angle: float, spread: float) -> Points:
    aside = ARM_SPREAD * spread
    return np.array([np.sin(angle) * np.cos(aside), np.sin(aside), -np.cos(angle) * np.cos(aside)])


def _knee(hip: Points, ankle: Points) -> Points:
    """The knee between hip and ankle, bent forward: two bones of known length (law of cosines)."""
    leg = ankle - hip
    # A leg that would have to be longer than it is stays straight, and the knee lies on the line.
    length = min(float(np.linalg.norm(leg)), THIGH + SHANK)
    along = (THIGH**2 - SHANK**2 + length**2) / (2 * length)
    out = np.sqrt(max(THIGH**2 - along**2, 0.0))
    leg = leg / np.linalg.norm(leg)
    forward = np.array([1.0, 0.0, 0.0])
    ahead = forward - (forward @ leg) * leg
    return np.asarray(hip + along * leg + out * ahead / np.linalg.norm(ahead))
