"""The test card: a synthetic camera whose athletes' joints are colour-coded and move along known paths.

A picture of it goes through the true path (JPEG, Redis, letterbox, onnxruntime, non-maximum suppression,
commit) like any other; a small graph that follows RTMO's contract (kinestream_workers.graphs) reads the
joints back; and the truth is known exactly. It is a test signal: nothing here estimates the pose of people.

One subject a file: palette (colours), body (the mannequin's joints), motions (jump, squat, walk), stage
(where they are in the picture), silhouette (outlines), truth (what can be seen), backdrop and drawing (the
picture), card (all of it as a camera).
"""

from kinestream.testcard.card import Event, TestCard
from kinestream.testcard.motions import GRAVITY, LANDING, REP, TAKE_OFF
from kinestream.testcard.truth import Comparison, Truth, compare

__all__ = ["GRAVITY", "LANDING", "REP", "TAKE_OFF", "Comparison", "Event", "TestCard", "Truth", "compare"]
