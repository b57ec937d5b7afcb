"""What is in the picture at an instant, exactly: every joint's place, whether its marker shows, who is there.

Also how a reading of the picture compares with it. Not for: the drawing itself (see drawing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.testcard.body import Points
from kinestream.testcard.palette import JOINTS
from kinestream.testcard.silhouette import outlines
from kinestream.testcard.stage import Figure

# Parts of the picture's longer side. In RTMO's 640-pixel input the disc has a radius of 4.5 pixels: 64 of
# them.
MARKER_RADIUS = 9 / 1280
RING_WIDTH = 2.2 / 1280
OUTLINE_WIDTH = 1.6 / 1280  # of a body's dark outline

# Of whom fewer markers show is not called present: somebody who is just coming in, or whom another hides.
PRESENT_JOINTS = 6


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth at one instant for A athletes, in pixels; (0, 0) is the corner of the first one."""

    joints: NDArray[np.float64]  # (A, 17, 2) x, y; meaningful outside the picture and behind others, too
    visible: NDArray[np.bool_]  # (A, 17) the whole marker shows; always False for who is not present
    present: NDArray[np.bool_]  # (A,) at least PRESENT_JOINTS markers show
    in_picture: NDArray[
        np.bool_
    ]  # (A,) some marker touches the picture: to report this person is no invention


@dataclass(frozen=True, slots=True)
class Comparison:
    """A reading of one picture against its truth."""

    errors_px: NDArray[np.float64]  # (found,) distances of the visible joints that were found
    missed: int  # visible joints that were not found
    invented: int  # people who are not in the picture, or are there twice
    persons: tuple[int | None, ...]  # for each athlete, the index of the person that was read, if any


def marker_radius(width: int, height: int) -> float:
    """Radius of a marker's coloured disc in pixels of a picture of that size."""
    return MARKER_RADIUS * max(width, height)


def truth_of(figures: Sequence[Figure], width: int, height: int) -> Truth:
    """The truth of a picture in which `figures` are drawn in that order, each body before its markers."""
    athletes = len(figures)
    radius = marker_radius(width, height)
    ring = RING_WIDTH * max(width, height)
    joints = np.array([figure.points[:JOINTS] for figure in figures])
    inside = (joints > radius).all(axis=-1) & (joints < np.array([width, height]) - radius).all(axis=-1)
    touches = (joints > -radius).all(axis=-1) & (joints < np.array([width, height]) + radius).all(axis=-1)
    in_picture: NDArray[np.bool_] = np.logical_or.reduce(touches, axis=1)

    visible = inside & ~_under_markers(figures, joints, 2 * radius + ring)
    _hide_behind_bodies(visible, figures, joints, radius, OUTLINE_WIDTH * max(width, height))
    present = visible.sum(axis=1) >= PRESENT_JOINTS

    order = np.empty(athletes, np.intp)
    order[[figure.athlete for figure in figures]] = np.arange(athletes)
    return Truth(
        joints=joints[order],
        visible=(visible & present[:, None])[order],
        present=present[order],
        in_picture=in_picture[order],
    )


def marker_order(figure: Figure) -> NDArray[np.intp]:
    """The order in which one athlete's markers are drawn: those farther away first."""
    return np.argsort(figure.depth[:JOINTS], kind="stable")


def compare(truth: Truth, keypoints: NDArray[np.float64], *, min_score: float = 0.5) -> Comparison:
    """Hold people that were read, (P, 17, 3) as x, y, score in picture pixels, against the truth.

    A person is taken for the athlete whose joints lie nearest; a joint is found if its score reaches
    `min_score`.
    """
    keypoints = np.asarray(keypoints, np.float64).reshape(-1, JOINTS, 3)
    found = keypoints[..., 2] >= min_score
    away = np.linalg.norm(keypoints[:, None, :, :2] - truth.joints[None], axis=-1)  # (P, A, 17)
    persons: list[int | None] = [None] * len(truth.joints)
    invented = 0
    for person in range(len(keypoints)):
        if not found[person].any():
            invented += 1
            continue
        athlete = int(np.median(away[person][:, found[person]], axis=1).argmin())
        if persons[athlete] is None and truth.in_picture[athlete]:
            persons[athlete] = person
        else:
            invented += 1
    errors: list[NDArray[np.float64]] = []
    missed = 0
    for athlete, who in enumerate(persons):
        wanted = truth.visible[athlete]
        got = wanted & found[who] if who is not None else np.zeros_like(wanted)
        missed += int(wanted.sum() - got.sum())
        if who is not None:
            errors.append(away[who, athlete, got])
    return Comparison(
        errors_px=np.concatenate(errors) if errors else np.empty(0),
        missed=missed,
        invented=invented,
        persons=tuple(persons),
    )


def _under_markers(figures: Sequence[Figure], joints: Points, reach: float) -> NDArray[np.bool_]:
    """Which discs (A, 17) a marker that is drawn later covers, be it with its ring."""
    rank = np.empty((len(figures), JOINTS))
    for place, figure in enumerate(figures):
        rank[place, marker_order(figure)] = np.arange(JOINTS) + JOINTS * place
    flat, ranks = joints.reshape(-1, 2), rank.ravel()
    near = np.linalg.norm(flat[:, None] - flat[None], axis=-1) < reach
    return np.asarray((near & (ranks[None] > ranks[:, None])).any(axis=1).reshape(joints.shape[:2]))


def _hide_behind_bodies(
    visible: NDArray[np.bool_], figures: Sequence[Figure], joints: Points, radius: float, outline: float
) -> None:
    """Clear `visible` where the body of an athlete who is drawn later covers a part of the disc."""
    for place, nearer in enumerate(figures):
        if place == 0:
            continue
        around = 0.3 * nearer.scale + radius  # a body reaches no farther beyond its points
        low, high = nearer.points.min(axis=0) - around, nearer.points.max(axis=0) + around
        behind = visible[:place] & (joints[:place] > low).all(axis=-1) & (joints[:place] < high).all(axis=-1)
        if not behind.any():
            continue
        polygons = [
            shape.astype(np.float32) for shape in outlines(nearer.points, nearer.scale, swell_px=outline)
        ]
        for athlete, joint in np.argwhere(behind):
            x, y = joints[athlete, joint]
            point = (float(x), float(y))
            if any(cv2.pointPolygonTest(polygon, point, True) > -radius for polygon in polygons):
                visible[athlete, joint] = False
