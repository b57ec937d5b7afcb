"""The test card's picture: backdrop, caption, soft shadows, mannequins, and on them the markers that carry
the code.

Everything but the markers is near grey, so that only markers are saturated. OpenCV counts pixels from their
centres, so 0.5 is subtracted from every position; sub-pixel shifts keep motion smooth and the markers'
centres true.

Not for: where things are (see stage.py) or what can be seen (see truth.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.testcard.backdrop import backdrop
from kinestream.testcard.body import Points
from kinestream.testcard.palette import JOINTS, palette
from kinestream.testcard.silhouette import SEAMLESS, TONES, drawing_order, outlines
from kinestream.testcard.stage import Figure
from kinestream.testcard.truth import OUTLINE_WIDTH, RING_WIDTH, marker_order, marker_radius

Picture = NDArray[np.uint8]

TITLE = "TEST CARD"
# Sub-pixel positions are 1/256 of a pixel.
_SHIFT = 8
# Shadows are drawn at a quarter of the size and blurred: they are soft anyway.
_SHADOW_STEP = 4
_SHADOW_DARKNESS = 40  # grey levels less in the middle of a shadow
_SHADOW_THINNER_M = 0.02

_RING = (22, 20, 20)
_OUTLINE = (34, 34, 34)
_SHADE_AND_LIGHT = (0.84, 1.06)
_LIGHT_SHIFT_M, _SHADE_M = 0.014, 0.022
# Grey levels of what a mannequin wears; athletes differ in their shirts and by a breath of tint (B, G, R).
_TONES = {"skin": 196, "shirt": 148, "shorts": 84, "shoe": 112, "hair": 66}
_SHIRTS = (158, 122, 176, 138)
_TINTS = ((-4, 0, 4), (5, 0, -3), (-4, 4, -1), (3, -3, 3))


def draw(figures: Sequence[Figure], width: int, height: int, *, caption: str | None = None) -> Picture:
    """The picture with `figures` drawn in that order: (height, width, 3) uint8 BGR.

    The words TEST CARD are always in it, since that is what it is; `caption` follows them.
    """
    picture = backdrop(width, height).copy()
    _write(picture, caption or "")
    _cast_shadows(picture, figures)
    outline = OUTLINE_WIDTH * max(width, height)
    for figure in figures:
        if _in_picture(figure, width, height):
            _draw_body(picture, figure, outline)
            _draw_markers(picture, figure)
    return picture


def _fixed(points: Points) -> NDArray[np.int32]:
    """Picture positions as OpenCV's fixed-point numbers."""
    return np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _in_picture(figure: Figure, width: int, height: int) -> bool:
    low, high = figure.points.min(axis=0) - 0.3 * figure.scale, figure.points.max(axis=0) + 0.3 * figure.scale
    return bool((high > 0).all() and (low < (width, height)).all())


def _draw_body(picture: Picture, figure: Figure, outline: float) -> None:
    shirt, tint = _SHIRTS[figure.athlete], np.array(_TINTS[figure.athlete])
    points, scale = figure.points, figure.scale
    edges = _fixed_all(outlines(points, scale, swell_px=outline))
    shapes = _fixed_all(outlines(points, scale))
    # Light from the upper left: a narrower, brighter shape inside each part, moved towards the light.
    lights = _fixed_all(outlines(points - _LIGHT_SHIFT_M * scale, scale, swell_px=-_SHADE_M * scale))
    for group in drawing_order(figure):
        for part in group:
            if part not in SEAMLESS:
                cv2.fillConvexPoly(picture, edges[part], _OUTLINE, cv2.LINE_AA, _SHIFT)
        for part in group:
            tone = shirt if TONES[part] == "shirt" else _TONES[TONES[part]]
            shade, light = ((tone * factor + tint).tolist() for factor in _SHADE_AND_LIGHT)
            cv2.fillConvexPoly(picture, shapes[part], shade, cv2.LINE_AA, _SHIFT)
            cv2.fillConvexPoly(picture, lights[part], light, cv2.LINE_AA, _SHIFT)


def _fixed_all(polygons: list[Points]) -> list[NDArray[np.int32]]:
    return np.split(_fixed(np.concatenate(polygons)), np.cumsum([len(polygon) for polygon in polygons])[:-1])


def _draw_markers(picture: Picture, figure: Figure) -> None:
    height, width = picture.shape[:2]
    radius = marker_radius(width, height)
    disc = round(radius * (1 << _SHIFT))
    ring = round((radius + RING_WIDTH * max(width, height)) * (1 << _SHIFT))
    colours = palette()[figure.athlete].tolist()
    centres = _fixed(figure.points[:JOINTS]).tolist()
    for joint in marker_order(figure).tolist():
        cv2.circle(picture, centres[joint], ring, _RING, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.circle(picture, centres[joint], disc, colours[joint], cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _cast_shadows(picture: Picture, figures: Sequence[Figure]) -> None:
    height, width = picture.shape[:2]
    small = np.zeros((-(-height // _SHADOW_STEP), -(-width // _SHADOW_STEP)), np.uint8)
    for figure in figures:
        # On the floor a body is as flat as the floor is seen: thinner than it is.
        shapes = outlines(figure.shadow, figure.scale, swell_px=-_SHADOW_THINNER_M * figure.scale)
        for shape in _fixed_all([shape / _SHADOW_STEP for shape in shapes]):
            cv2.fillConvexPoly(small, shape, _SHADOW_DARKNESS, cv2.LINE_8, _SHIFT)
    x, y, w, h = cv2.boundingRect(small)
    if w == 0:
        return
    blur = max(height / 300, 1.0)
    reach = round(3 * blur)
    x, y, right, bottom = max(x - reach, 0), max(y - reach, 0), x + w + reach, y + h + reach
    small = cv2.GaussianBlur(small[y:bottom, x:right], (0, 0), blur)
    soft = cv2.resize(small, None, fx=_SHADOW_STEP, fy=_SHADOW_STEP, interpolation=cv2.INTER_LINEAR)
    region = picture[y * _SHADOW_STEP :, x * _SHADOW_STEP :][: soft.shape[0], : soft.shape[1]]
    shade = cv2.cvtColor(soft[: region.shape[0], : region.shape[1]], cv2.COLOR_GRAY2BGR)
    cv2.subtract(region, shade, region)


def _write(picture: Picture, caption: str) -> None:
    height, width = picture.shape[:2]
    size = max(width, height) / 1280
    x, y = round(28 * size), round(46 * size)
    (advance, _), _ = cv2.getTextSize(TITLE, cv2.FONT_HERSHEY_SIMPLEX, 0.95 * size, 2)
    cv2.putText(picture, TITLE, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.95 * size, (222,) * 3, 2, cv2.LINE_AA)
    place = (x + advance + round(16 * size), y)
    cv2.putText(picture, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.70 * size, (170,) * 3, 1, cv2.LINE_AA)
