"""What the athletes do: counter-movement jump, squat, walk; each a posture as a function of time, with its
events.

Postures and events come from the same few numbers, so that they cannot disagree: in a jump the pelvis follows
`take-off height + v·τ − g·τ²/2` with v = g·T/2 for exactly the stated flight time T, and the events are that
parabola's two ends. A jump of flight time T therefore rises g·T²/8 from take-off to its top.

Time runs from 0 within a cycle that repeats for ever; time units are seconds, lengths metres.
Not for: where in the picture an athlete stands or walks (see stage.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import cos, floor, pi, sin
from typing import Protocol

from kinestream.testcard.body import Posture

GRAVITY = 9.81  # m/s²
# One jump, or one squat, every two seconds: `loop=2` is then seamless.
CYCLE_S = 2.0

TAKE_OFF, LANDING, REP = "take-off", "landing", "rep"


class Motion(Protocol):
    """A posture at any time, and the moments of one cycle that a measurement can be tested against."""

    @property
    def cycle_s(self) -> float: ...

    def posture(self, t_s: float) -> Posture: ...

    def moments(self) -> tuple[tuple[float, str], ...]: ...


# A stretch of motion: from (time, value, velocity) to the next. Cubic Hermite, so position and velocity are
# continuous.
Knot = tuple[float, float, float]


def _follow(knots: tuple[Knot, ...], t_s: float) -> float:
    for (t0, p0, v0), (t1, p1, v1) in pairwise(knots):
        if t_s <= t1:
            span = t1 - t0
            u = (t_s - t0) / span
            return (
                (1 + 2 * u) * (1 - u) ** 2 * p0
                + u * (1 - u) ** 2 * span * v0
                + u * u * (3 - 2 * u) * p1
                + u * u * (u - 1) * span * v1
            )
    return knots[-1][1]


@dataclass(frozen=True, slots=True)
class Jump:
    """A counter-movement jump: crouch, push, flight of `flight_s`, landing, and a short stand."""

    flight_s: float = 0.50
    depth_m: float = 0.30
    cycle_s: float = CYCLE_S

    # Where the parts of a cycle begin. A slow crouch and a fast push are what makes the jump look strong.
    _REST_S = 0.10
    _CROUCH_S = 0.46
    _PUSH_S = 0.30
    _ABSORB_S = 0.20
    _RECOVER_S = 0.36
    _TIPTOE_M = 0.09  # the pelvis leaves the ground this much above standing: legs straight, heels up
    _ABSORB_DEPTH_M = 0.20

    @property
    def take_off_s(self) -> float:
        return self._REST_S + self._CROUCH_S + self._PUSH_S

    @property
    def landing_s(self) -> float:
        return self.take_off_s + self.flight_s

    def moments(self) -> tuple[tuple[float, str], ...]:
        return (self.take_off_s, TAKE_OFF), (self.landing_s, LANDING)

    def rise(self, t_s: float) -> float:
        """Height of the pelvis over standing."""
        speed = GRAVITY * self.flight_s / 2
        up, down = self.take_off_s, self.landing_s
        if up < t_s < down:
            tau = t_s - up
            return self._TIPTOE_M + speed * tau - GRAVITY * tau * tau / 2
        bottom = down + self._ABSORB_S
        before = (
            (0.0, 0.0, 0.0),
            (self._REST_S, 0.0, 0.0),
            (self._REST_S + self._CROUCH_S, -self.depth_m, 0.0),
            (up, self._TIPTOE_M, speed),
        )
        after = (
            (down, self._TIPTOE_M, -speed),
            (bottom, -self._ABSORB_DEPTH_M, 0.0),
            (bottom + self._RECOVER_S, 0.0, 0.0),
        )
        return _follow(before if t_s <= up else after, t_s)

    def posture(self, t_s: float) -> Posture:
        t_s %= self.cycle_s
        rise = self.rise(t_s)
        crouch = max(-rise, 0.0)
        tiptoe = min(max(rise, 0.0), self._TIPTOE_M)
        up, down = self.take_off_s, self.landing_s
        arms = _follow(
            (
                (0.0, 0.05, 0.0),
                (self._REST_S, 0.05, 0.0),
                (self._REST_S + 0.8 * self._CROUCH_S, -0.95, 0.0),
                (up + 0.06, 2.30, 2.0),
                (up + 0.5 * self.flight_s, 2.45, 0.0),
                (down + self._ABSORB_S, 0.65, -2.0),
                (down + self._ABSORB_S + self._RECOVER_S, 0.05, 0.0),
            ),
            t_s,
        )
        elbow = 0.25 + 0.35 * max(arms, 0.0) / 2.45
        return Posture(
            rise_m=rise,
            shift_m=-0.45 * crouch,
            lean=1.6 * crouch,
            lift_m=(max(rise, 0.0), max(rise, 0.0)),
            pitch=(tiptoe / 0.115, tiptoe / 0.115),
            arms=(arms, arms),
            elbows=(elbow, elbow),
        )


@dataclass(frozen=True, slots=True)
class Squat:
    """A squat to parallel, arms reaching forward; a repetition counts at its deepest point."""

    depth_m: float = 0.42
    cycle_s: float = CYCLE_S

    _REST_S = 0.15
    _DOWN_S = 0.85
    _UP_S = 0.75

    @property
    def bottom_s(self) -> float:
        return self._REST_S + self._DOWN_S

    def moments(self) -> tuple[tuple[float, str], ...]:
        return ((self.bottom_s, REP),)

    def posture(self, t_s: float) -> Posture:
        down = _follow(
            (
                (0.0, 0.0, 0.0),
                (self._REST_S, 0.0, 0.0),
                (self.bottom_s, self.depth_m, 0.0),
                (self.bottom_s + self._UP_S, 0.0, 0.0),
            ),
            t_s % self.cycle_s,
        )
        return Posture(
            rise_m=-down,
            shift_m=-0.40 * down,
            lean=1.25 * down,
            arms=(0.1 + 3.0 * down, 0.1 + 3.0 * down),
            elbows=(0.2, 0.2),
        )


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk in which the standing foot stays where it is on the ground; the origin moves on with the pelvis.

    `speed_mps` must be the speed at which the stage moves the origin, or feet slide.
    """

    speed_mps: float = 1.15
    cycle_s: float = 1.1  # two steps

    _STANCE = 0.60  # the part of a cycle for which a foot is on the ground
    _LIFT_M = 0.11
    _ARM_SWING = 0.50

    def moments(self) -> tuple[tuple[float, str], ...]:
        return ()

    def posture(self, t_s: float) -> Posture:
        phase = t_s / self.cycle_s
        left, right = self._foot(phase), self._foot(phase + 0.5)
        swing = cos(2 * pi * (phase - 0.03))  # an arm goes back as the foot on its side goes forward
        return Posture(
            rise_m=-0.035 + 0.018 * cos(4 * pi * (phase - 0.3)),
            lean=0.05,
            feet_m=(left[0], right[0]),
            lift_m=(left[1], right[1]),
            pitch=(left[2], right[2]),
            arms=(0.05 - self._ARM_SWING * swing, 0.05 + self._ARM_SWING * swing),
            elbows=(0.40 - 0.2 * swing, 0.40 + 0.2 * swing),
        )

    def _foot(self, phase: float) -> tuple[float, float, float]:
        """Ankle forward of the pelvis, its lift, and the pitch of the foot."""
        phase -= floor(phase)
        half = self._STANCE * self.cycle_s * self.speed_mps / 2
        if phase < self._STANCE:
            forward = half * (1 - 2 * phase / self._STANCE)
            late = max(phase / self._STANCE - 0.7, 0.0) / 0.3  # the heel comes up before the foot leaves
            early = max(0.15 - phase / self._STANCE, 0.0) / 0.15
            return forward, 0.05 * late**2, 0.45 * late**2 - 0.25 * early
        u = (phase - self._STANCE) / (1 - self._STANCE)
        span = (1 - self._STANCE) * self.cycle_s
        forward = _follow(((0.0, -half, -self.speed_mps), (span, half, -self.speed_mps)), u * span)
        lift = 0.05 * (1 - u) ** 2 + self._LIFT_M * sin(pi * u) ** 2
        return forward, lift, 0.45 * (1 - u) ** 2 - 0.25 * u**3 - 0.2 * sin(pi * u)


MOTIONS = ("jump", "squat", "walk")
