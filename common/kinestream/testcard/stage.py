"""Where the athletes are in the picture: their spots and lanes, the perspective, and each body as picture
points.

The camera looks level, from `CAMERA_HEIGHT_M` above an even floor: whoever stands deeper in the room is
smaller and has the feet higher up in the picture. Each athlete as such is drawn without perspective (its
depth is small against its distance), so one scale in pixels a metre belongs to each.

Pixels are corner-based, as everywhere in Kinestream: (0, 0) is the corner of the first pixel, whose centre is
(0.5, 0.5).
Not for: how bodies look (see silhouette.py and drawing.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

from kinestream.testcard.body import Points, pose
from kinestream.testcard.motions import CYCLE_S, Jump, Motion, Squat, Walk

CAMERA_HEIGHT_M = 2.4
# The nearest athlete's share of the picture: this many metres fit its height, which leaves room for a jump, …
PICTURE_HEIGHT_M = 2.75
# … and its width, which leaves room for four.
PICTURE_WIDTH_M = 4.9
NEAR_GROUND = 0.945  # where the nearest stands, of the height that the athletes need
FOCAL = 1.45  # of the picture's longer side; only says how much of the floor is seen from above

# In walking, athletes cross. The far lane's athletes are this much smaller, so that the boxes of two that
# cross never overlap enough (IoU 0.40; non-maximum suppression acts at 0.45) for one to be taken for a
# duplicate of the other.
FAR_LANE = 0.60
CLOSE_LANE = 0.92  # `crossing=close`: about the same size, one hides the other; a hard case for trackers
WALK_YAW = radians(46)
LANE_MARGIN_M = 0.8  # how far beyond the picture's edge they turn up again

# How much of the body's turn away from the camera the head takes back: they look at us, and all five face
# markers show.
FACE_BACK = 0.92

# Light comes from the upper left, in front: a point's shadow lies this far (right, away) from below it, a
# metre of height.
SHADOW_RIGHT, SHADOW_AWAY = 0.42, 0.75

# For 1 to 4 athletes who stay where they are: (x as a part of the width, size, turn to the picture's right in
# degrees).
SPOTS = {
    1: ((0.50, 1.0, 24),),
    2: ((0.32, 1.0, 26), (0.68, 1.0, -26)),
    3: ((0.21, 1.0, 28), (0.50, 0.72, -10), (0.79, 1.0, -28)),
    4: ((0.14, 1.0, 28), (0.37, 0.72, 16), (0.63, 0.72, -16), (0.86, 1.0, -28)),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One athlete at one instant in the picture: points (27, 2) as in `body.pose`, and their shadows."""

    athlete: int
    points: Points
    depth: Points  # (27,) metres towards the viewer, within the body
    shadow: Points
    scale: float  # pixels a metre


@dataclass(frozen=True, slots=True)
class Athlete:
    """What one athlete does, and where: `speed` in pixels a second along a `path` in pixels; 0 to stay."""

    athlete: int
    motion: Motion
    phase_s: float
    scale: float
    ground_y: float
    tilt: float
    yaw: float
    start_x: float
    speed: float = 0.0
    path: float = 0.0
    margin: float = 0.0

    def figure(self, t_s: float) -> Figure:
        """This athlete at `t_s`: a pure function."""
        body = pose(self.motion.posture(t_s + self.phase_s), face=-FACE_BACK * self.yaw)
        x = self.start_x
        if self.speed:
            x = (x + self.speed * t_s) % self.path - self.margin
        # The axes forward, left, up as seen in the picture (x right, y down). Who walks keeps to the lane:
        # going forward is going sideways in the picture, no matter how much of the chest is shown.
        forward_y = 0.0 if self.speed else self.tilt * cos(self.yaw)
        forward, left = (sin(self.yaw), forward_y), (cos(self.yaw), -self.tilt * sin(self.yaw))
        base = np.array([x, self.ground_y])
        shade = (SHADOW_RIGHT, -self.tilt * SHADOW_AWAY)
        return Figure(
            athlete=self.athlete,
            points=base + self.scale * body @ np.array([forward, left, (0.0, -1.0)]),
            depth=body @ np.array([cos(self.yaw), -sin(self.yaw), 0.0]),
            shadow=base + self.scale * body @ np.array([forward, left, shade]),
            scale=self.scale,
        )


def cast(
    *, motion: str, athletes: int, seed: int, width: int, height: int, close: bool = False
) -> tuple[Athlete, ...]:
    """The athletes of a test card, farthest first (the order in which they are drawn); a pure function."""
    chance = np.random.default_rng([seed, athletes])
    unit = near_scale(width, height)
    if motion == "walk":
        walkers = _walkers(chance, athletes, unit, width, height, CLOSE_LANE if close else FAR_LANE)
        return tuple(sorted(walkers, key=lambda athlete: athlete.scale))
    placed = []
    for index, (x, size, turn) in enumerate(SPOTS[athletes]):
        does: Motion
        if motion == "jump":
            does = Jump(flight_s=float(chance.uniform(0.42, 0.54)), depth_m=float(chance.uniform(0.24, 0.33)))
        else:
            does = Squat(depth_m=float(chance.uniform(0.34, 0.44)))
        placed.append(
            Athlete(
                athlete=index,
                motion=does,
                phase_s=float(chance.uniform(0.0, CYCLE_S)),
                scale=unit * size,
                yaw=radians(turn + float(chance.uniform(-5, 5))),
                start_x=x * width,
                **_floor(unit, size, width, height),
            )
        )
    return tuple(sorted(placed, key=lambda athlete: athlete.scale))


def near_scale(width: int, height: int) -> float:
    """Pixels a metre where the nearest athletes are."""
    return min(height / PICTURE_HEIGHT_M, width / PICTURE_WIDTH_M)


def horizon(width: int, height: int) -> float:
    """The picture's y at which the floor would end, infinitely far away."""
    unit = near_scale(width, height)
    # In a tall picture the athletes stand around its middle.
    return NEAR_GROUND * (height + PICTURE_HEIGHT_M * unit) / 2 - CAMERA_HEIGHT_M * unit


def _floor(unit: float, size: float, width: int, height: int) -> dict[str, float]:
    scale = unit * size
    return {
        "ground_y": horizon(width, height) + CAMERA_HEIGHT_M * scale,
        "tilt": CAMERA_HEIGHT_M * scale / (FOCAL * max(width, height)),
    }


def _walkers(
    chance: np.random.Generator, athletes: int, unit: float, width: int, height: int, far: float
) -> list[Athlete]:
    """Athletes 0 and 2 share the near lane, 1 and 3 the far one; the lanes go opposite ways."""
    near_goes = 1 if chance.random() < 0.5 else -1
    walkers = []
    for lane, size in enumerate((1.0, far)):
        goes = near_goes if lane == 0 else -near_goes
        members = range(lane, athletes, 2)
        scale = unit * size
        margin = LANE_MARGIN_M * scale
        path = width + 2 * margin
        walk = Walk(speed_mps=float(chance.uniform(1.05, 1.25)))
        start = float(chance.uniform(0.0, path))
        for place, athlete in enumerate(members):
            walkers.append(
                Athlete(
                    athlete=athlete,
                    motion=walk,
                    phase_s=float(chance.uniform(0.0, walk.cycle_s)),
                    scale=scale,
                    yaw=goes * WALK_YAW,
                    # Half a lane apart at one speed: who shares a lane never meets.
                    start_x=start + place * path / 2,
                    speed=goes * walk.speed_mps * scale * sin(WALK_YAW),
                    path=path,
                    margin=margin,
                    **_floor(unit, size, width, height),
                )
            )
    return walkers
