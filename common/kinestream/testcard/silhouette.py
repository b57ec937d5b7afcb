"""The outlines of a body in the picture: tapered limbs, a trunk, a head, as convex polygons in drawing order.

The truth asks these very polygons which markers they hide, so what is drawn and what is said to be visible
agree.
Not for: colours and strokes (see drawing.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.skeletons import COCO17
from kinestream.testcard.body import (
    HEAD,
    LEFT_HAND,
    LEFT_HEEL,
    LEFT_TOE,
    LEFT_WAIST,
    NECK,
    RIGHT_HAND,
    RIGHT_HEEL,
    RIGHT_TOE,
    RIGHT_WAIST,
    Points,
)
from kinestream.testcard.stage import Figure

# Corners of a limb's outline: half of them round each end.
CORNERS = 28


@dataclass(frozen=True, slots=True)
class Limb:
    """A tapered capsule between two points of the body, of which it covers a stretch; radii in metres."""

    start: int
    stop: int
    start_radius_m: float
    stop_radius_m: float
    tone: str
    stretch: tuple[float, float] = (0.0, 1.0)


def _arm(side: str, hand: int) -> tuple[Limb, ...]:
    shoulder, elbow, wrist = (COCO17.index(f"{side}_{joint}") for joint in ("shoulder", "elbow", "wrist"))
    return (
        Limb(wrist, hand, 0.040, 0.046, "skin"),
        Limb(elbow, wrist, 0.050, 0.038, "skin"),
        Limb(shoulder, elbow, 0.066, 0.050, "skin"),
        Limb(shoulder, elbow, 0.076, 0.070, "shirt", stretch=(0.0, 0.50)),
    )


def _leg(side: str, heel: int, toe: int) -> tuple[Limb, ...]:
    hip, knee, ankle = (COCO17.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle"))
    return (
        Limb(heel, toe, 0.042, 0.036, "shoe"),
        Limb(knee, ankle, 0.066, 0.043, "skin"),
        Limb(hip, knee, 0.098, 0.066, "skin"),
        Limb(hip, knee, 0.108, 0.098, "shorts", stretch=(0.0, 0.60)),
    )


_SHOULDERS = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
_EARS = COCO17.index("left_ear"), COCO17.index("right_ear")
_HIPS = COCO17.index("left_hip"), COCO17.index("right_hip")

_GROUPS = {
    "left arm": _arm("left", LEFT_HAND),
    "right arm": _arm("right", RIGHT_HAND),
    "left leg": _leg("left", LEFT_HEEL, LEFT_TOE),
    "right leg": _leg("right", RIGHT_HEEL, RIGHT_TOE),
    "pelvis": (Limb(*_HIPS, 0.104, 0.104, "shorts"),),
    "trunk": (
        Limb(NECK, HEAD, 0.064, 0.060, "skin"),
        # These two become one: the shirt is the hull of what lies between the shoulders and what lies at the
        # waist.
        Limb(*_SHOULDERS, 0.078, 0.078, "shirt"),
        Limb(LEFT_WAIST, RIGHT_WAIST, 0.105, 0.105, "shirt", stretch=(0.06, 0.94)),
    ),
    "head": (
        Limb(_EARS[0], _EARS[0], 0.05, 0.05, "skin"),
        Limb(_EARS[1], _EARS[1], 0.05, 0.05, "skin"),
        Limb(HEAD, NECK, 0.184, 0.152, "hair", stretch=(-0.05, 0.12)),
        Limb(HEAD, NECK, 0.168, 0.146, "skin", stretch=(0.06, 0.24)),
    ),
}
_LIMBS = [limb for limbs in _GROUPS.values() for limb in limbs]
_SHOULDER_LINE, _WAIST = (_LIMBS.index(limb) for limb in _GROUPS["trunk"][1:])
_PLACES = {
    name: [place for place in map(_LIMBS.index, limbs) if place != _WAIST] for name, limbs in _GROUPS.items()
}
# The pelvis has no outline of its own: it joins the thighs.
SEAMLESS = frozenset(_PLACES["pelvis"])
TONES = tuple(limb.tone for limb in _LIMBS)

_START, _STOP = [limb.start for limb in _LIMBS], [limb.stop for limb in _LIMBS]
_FROM, _TO = (np.array([limb.stretch[end] for limb in _LIMBS])[:, None] for end in (0, 1))
_RADII = np.array([[limb.start_radius_m, limb.stop_radius_m] for limb in _LIMBS])
_SWEEP = np.linspace(-1.0, 1.0, CORNERS // 2)


def drawing_order(figure: Figure) -> list[list[int]]:
    """Indices into what `outlines` returns, group by group, rearmost first."""
    depth, middle = figure.depth, figure.depth[NECK]

    def reach(name: str) -> float:
        first = _GROUPS[name][2]  # upper arm, thigh
        return float(depth[first.start] + depth[first.stop]) / 2

    arms = sorted(("left arm", "right arm"), key=reach)
    legs = sorted(("left leg", "right leg"), key=reach)
    behind = [arm for arm in arms if reach(arm) < middle]
    before = [arm for arm in arms if reach(arm) >= middle]
    return [_PLACES[name] for name in (*behind, *legs, "pelvis", "trunk", "head", *before)]


def outlines(points: Points, scale: float, *, swell_px: float = 0.0) -> list[Points]:
    """A body's polygons, (corners, 2) picture pixels each; `TONES` says what each is made of.

    `points` are a figure's, or its shadow's; every radius is `swell_px` larger than it is at that `scale`.
    """
    start, stop = points[_START], points[_STOP]
    start, stop = start + _FROM * (stop - start), start + _TO * (stop - start)
    radii = np.maximum(_RADII * scale + swell_px, 0.5)
    along = stop - start
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    direction = np.arctan2(along[:, 1], along[:, 0])[:, None]
    # Both circles' common tangents touch them at this angle from the axis; a circle inside the other has
    # none.
    tangent = np.arccos(np.clip((radii[:, 0] - radii[:, 1]) / length, -1.0, 1.0))[:, None]
    angles = np.concatenate(
        [direction + tangent * _SWEEP, direction + np.pi + (np.pi - tangent) * _SWEEP], axis=1
    )
    half = CORNERS // 2
    shapes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    shapes[:, :half] = stop[:, None] + radii[:, 1, None, None] * shapes[:, :half]
    shapes[:, half:] = start[:, None] + radii[:, 0, None, None] * shapes[:, half:]
    polygons = list(shapes)
    polygons[_SHOULDER_LINE] = _hull(np.concatenate([shapes[_SHOULDER_LINE], shapes[_WAIST]]))
    return polygons


def _hull(points: NDArray[np.float64]) -> Points:
    return np.asarray(cv2.convexHull(points.astype(np.float32)), np.float64).reshape(-1, 2)
