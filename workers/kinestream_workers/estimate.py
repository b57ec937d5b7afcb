"""What the estimator says about one picture. Not for: the pipeline's records (see `kinestream.messages`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError
from kinestream.messages import Person
from kinestream.skeletons import SKELETONS


@dataclass(frozen=True, slots=True)
class Estimate:
    """The N people of one picture, best first, each with the K keypoints of a skeleton.

    Positions are pixels of the picture that was given; (0, 0) is the corner of its first pixel, so that the
    pixel's centre is (0.5, 0.5). Nobody there is N = 0, and the arrays keep their other lengths. The arrays
    are the caller's own: changing them changes nothing else.
    """

    timestamp: float
    """When the picture was taken, seconds since 1970."""
    keypoints: NDArray[np.float64] = field(compare=False)
    """[N, K, 2]: x to the right and y down. Outside the picture is possible."""
    scores: NDArray[np.float64] = field(compare=False)
    """[N, K]: how sure the network is of each keypoint, 0 to 1."""
    people: tuple[Person, ...]
    """The same people as in the pipeline's results, each with a box and a score."""
    skeleton: str
    """What the keypoints are, in order: a key of `kinestream.skeletons.SKELETONS`, where it is known."""
    width: int
    height: int
    """Of the picture, pixels."""
    fps: float
    """Rate of the calls of `process_frame`, over the last 30 of them; 0.0 at the first."""
    repeated: bool = False
    """With `every`: this picture was not looked at; all but `fps` is of the newest one that was."""


def arrays(people: Sequence[Person], skeleton: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keypoints [N, K, 2] and scores [N, K]; raises `EngineError` if they are not K of each person."""
    counts = {len(person.keypoints) for person in people}
    known = SKELETONS.get(skeleton)
    joints = len(known.names) if known else min(counts, default=0)
    if counts - {joints}:
        told = ", ".join(map(str, sorted(counts)))
        raise EngineError(f"each person has {joints} keypoints ({skeleton}), the engine gave {told}")
    points = np.array([person.keypoints for person in people], np.float64).reshape(len(people), joints, 3)
    return points[..., :2].copy(), points[..., 2].copy()
