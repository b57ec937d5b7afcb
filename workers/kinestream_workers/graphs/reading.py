"""How the graph finds the test card's markers in a picture: from colours to joints, in four steps.

1. `candidates`: saturated pixels, looked for in every second row and column.
2. `votes`: each votes for the nearest of the 68 colours, if it and its diagonal neighbours are near that
   colour. On an edge, where colours blend, a pixel may look like any of them.
3. `rough`: the votes' centroids and mean colours. Votes that are few or scattered are no marker.
4. `fine`: around each centroid, at full resolution, how much of the marker's hue is in every pixel: 1 on the
   disc, a part of it on the edge, 0 beyond. The centroid of these shares is the joint, and their sum the area
   of the disc that shows.

In the shapes, B is the batch, K the number of candidates, M = 68·B the markers of all images.
Not for: people and scores, which are made of joints in build.py.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from kinestream.testcard.palette import JOINTS, MAX_ATHLETES, palette
from kinestream_workers.graphs.nodes import Nodes, Value

SIDE = 640
PLANE = SIDE * SIDE
MARKERS = MAX_ATHLETES * JOINTS

# The palette's least saturated colour has 110; JPEG and the letterbox take some of it.
MIN_SATURATION = 60.0
# How far from its colour a vote and its neighbours may be. The two nearest colours of the palette are 54
# apart. Of 26,586 visible joints none lost its votes, and no vote went astray, for any value from 35 to 52.
MAX_COLOUR_DISTANCE = 41.0
# A whole marker gets 4 to 9 votes.
MIN_VOTES = 3.0
# The votes' variance in square pixels (x and y together); inside a marker it is below 6.
MAX_SPREAD = 12.0
# A pixel's share of the hue counts from 0 to 1 between these two: below is noise, above is the disc. They lie
# symmetrically, so that the edge stays where it is.
SHARE_FROM, SHARE_TO = 0.2, 0.8
# Pixels around the rough centre that are looked at. A marker and its ring reach 5.6 pixels; another marker's
# disc may begin there.
REACH = 5.5
# The rough centre is rounded to a pixel; the second pass looks around the centroid that the first one found.
WANDER, PASSES = 0.75, 2
# A whole disc of radius 4.5 covers 63.6 pixels; what spreads over more than a disc can is no marker.
MAX_AREA = 82.0


def candidates(n: Nodes, picture: Value) -> tuple[Value, Value, Value]:
    """Image, row and column, (K,) integers each, of the saturated pixels in every second row and column."""
    # Pooling single pixels is the cheapest way to skip every other one: cheaper than a Slice with steps.
    coarse = n.call("MaxPool", picture, kernel_shape=[1, 1], strides=[2, 2])
    channels = n.split(coarse, 3, axis=1)
    saturated = n.largest(*channels) - n.smallest(*channels) > MIN_SATURATION
    image, _, row, column = n.split(n.call("NonZero", saturated, kind=np.int64), 4, axis=0)
    return image.squeeze(0), row.squeeze(0) * 2, column.squeeze(0) * 2


def votes(n: Nodes, pixels: Value, image: Value, y: Value, x: Value) -> tuple[Value, Value]:
    """Each candidate's marker (K, 1), and what it adds to it (K, 7): 1, x, y, x² + y², B, G, R, or zeros."""
    # Itself and its four diagonal neighbours. At the picture's edge a neighbour is a pixel from elsewhere;
    # nothing is lost by that, since a whole marker ends before.
    first = (image * (3 * PLANE) + y * SIDE + x).unsqueeze(1).unsqueeze(2)
    around = [0, *(dy * SIDE + dx for dy, dx in product((-1, 1), repeat=2))]
    where = first + (np.arange(3)[:, None] * PLANE + np.array(around))[None]
    here = pixels.gather(n.largest(where, n.ints(0)))  # (K, 3, 5)
    own = here.gather(n.ints(0), axis=2)

    # |pixel − colour|² = |pixel|² − 2·(pixel·colour − |colour|²/2): the nearest has the largest bracket.
    colours = palette().reshape(MARKERS, 3).astype(np.float64)
    bracket = own @ colours.T - (colours**2).sum(axis=1) / 2
    marker = n.call("ArgMax", bracket, axis=1, keepdims=1, kind=np.int64)
    colour = n.floats(colours[:, :, None]).gather(marker.squeeze(1))  # (K, 3, 1)
    farthest = (here - colour).reduce("SumSquare", 1).reduce("Max", 1, keep=True)

    valid = (farthest < MAX_COLOUR_DISTANCE**2).floats()
    # Measured from the middle, so that sums of squares stay small enough for float32.
    x, y = ((value - SIDE // 2).floats().unsqueeze(1) for value in (x, y))
    adds = n.concat(valid, x, y, x * x + y * y, own, axis=1) * valid
    return (image * MARKERS).unsqueeze(1) + marker, adds


def rough(n: Nodes, totals: Value) -> tuple[Value, Value, Value, Value]:
    """Whether each marker has votes (M, 1), its rough centre in pixel indices (M, 1), its colour (M, 3)."""
    count = totals.cut(0, 1, axis=1)
    means = totals.cut(1, 7, axis=1) / n.largest(count, n.floats(1.0))
    x, y, square = (means.cut(i, i + 1, axis=1) for i in range(3))
    voted = (count >= MIN_VOTES) & (square - (x * x + y * y) < MAX_SPREAD)
    return voted.floats(), x + SIDE / 2, y + SIDE / 2, means.cut(3, 6, axis=1)


def fine(
    n: Nodes, pixels: Value, batch: Value, voted: Value, x: Value, y: Value, colour: Value
) -> tuple[Value, Value, Value]:
    """Each marker's centre and the area of it that shows, 0 for none, (M, 1) each; pixels, square pixels."""
    around = np.array(list(product(range(-8, 9), repeat=2)))
    around = around[np.hypot(*around.T) <= REACH + WANDER]
    dy, dx = around.T
    x_pixel, y_pixel = (n.call("Round", value).clip(dx.max(), SIDE - 1 - dx.max()) for value in (x, y))

    images = n.call("Range", n.ints(0), batch.squeeze(0), n.ints(1)).unsqueeze(1)
    image = n.call("Expand", images, n.concat(batch, n.ints([MARKERS]), axis=0)).reshape(-1, 1)
    first = (y_pixel * SIDE + x_pixel).ints() + image * (3 * PLANE)
    offsets = np.arange(3)[:, None] * PLANE + dy * SIDE + dx
    window = pixels.gather(first.unsqueeze(2) + offsets[None])  # (M, 3, P)

    # A hue is a colour less its grey. How much of the marker's hue a pixel has falls with its distance from
    # it.
    hue = (colour - colour.reduce("Mean", 1, keep=True)).unsqueeze(2)
    strength = n.largest(hue.reduce("L2", 1), n.floats(1.0))  # (M, 1)
    away = (window - window.reduce("Mean", 1, keep=True) - hue).reduce("L2", 1) / strength  # (M, P)
    share = (n.floats(1 - SHARE_FROM) - away) / (SHARE_TO - SHARE_FROM)

    share = share.clip(0.0, 1.0) * voted

    x_here, y_here = x_pixel + dx[None], y_pixel + dy[None]
    area = voted
    for _ in range(PASSES):
        x_off, y_off = x_here - x, y_here - y
        within = share * (x_off * x_off + y_off * y_off < REACH**2).floats()
        area = within.reduce("Sum", 1, keep=True)
        some = n.largest(area, n.floats(1.0))
        x, y = ((within * here).reduce("Sum", 1, keep=True) / some for here in (x_here, y_here))
    # A pixel's centre is half a pixel from its corner.
    return x + 0.5, y + 0.5, area * (area < MAX_AREA).floats()
