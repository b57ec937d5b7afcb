"""Skeletons: every limb joins two keypoints, sides mirror each other, and the names are their makers'."""

from __future__ import annotations

from typing import Any

import pytest
from rtmlib.visualization.skeleton import coco17, halpe26

from kinestream.skeletons import BLAZEPOSE33, COCO17, HALPE26, SKELETONS, Skeleton

EVERY = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS.keys())


def mirrored(name: str) -> str:
    """The keypoint of the other side, or itself."""
    words = {"left": "right", "right": "left"}
    return "_".join(words.get(word, word) for word in name.split("_"))


@EVERY
def test_names_and_limbs_belong_together(skeleton: Skeleton) -> None:
    count = len(skeleton.names)
    assert len(set(skeleton.names)) == count
    assert all(0 <= start < count and 0 <= end < count and start != end for start, end in skeleton.limbs)
    assert len({frozenset(limb) for limb in skeleton.limbs}) == len(skeleton.limbs), "no limb twice"
    assert skeleton.details <= set(range(count))
    assert [skeleton.index(name) for name in skeleton.names] == list(range(count))


@EVERY
def test_left_and_right_are_alike(skeleton: Skeleton) -> None:
    assert {mirrored(name) for name in skeleton.names} == set(skeleton.names)
    limbs = {frozenset((skeleton.names[a], skeleton.names[b])) for a, b in skeleton.limbs}
    assert {frozenset(map(mirrored, limb)) for limb in limbs} == limbs
    details = {skeleton.names[index] for index in skeleton.details}
    assert {mirrored(name) for name in details} == details


def test_how_many_keypoints_there_are() -> None:
    assert {name: len(skeleton.names) for name, skeleton in SKELETONS.items()} == {
        "coco17": 17,
        "halpe26": 26,
        "blazepose33": 33,
    }


def test_the_body_of_both_has_the_same_names() -> None:
    body = {name for name in COCO17.names if name.partition("_")[2] not in ("eye", "ear")}
    assert body <= set(BLAZEPOSE33.names), "a consumer finds a knee in either by its name"


@pytest.mark.parametrize(
    ("ours", "theirs"), [(COCO17, coco17), (HALPE26, halpe26)], ids=["coco17", "halpe26"]
)
def test_the_order_of_keypoints_is_rtmlibs(ours: Skeleton, theirs: dict[str, Any]) -> None:
    """The numbers come from its models, so that a name in another place would be another joint."""
    assert list(ours.names) == [theirs["keypoint_info"][index]["name"] for index in range(len(ours.names))]


def test_the_limbs_of_halpe_are_rtmlibs_and_the_nose_hangs_on_both_eyes() -> None:
    limbs = {frozenset((HALPE26.names[a], HALPE26.names[b])) for a, b in HALPE26.limbs}
    theirs = {frozenset(link["link"]) for link in halpe26["skeleton_info"].values()}
    assert limbs == theirs | {frozenset(("nose", "right_eye"))}


def test_blazepose_is_mediapipes() -> None:
    vision = pytest.importorskip("mediapipe.tasks.python.vision", reason="the extra mediapipe")
    theirs = [landmark.name.lower() for landmark in vision.PoseLandmark]
    assert list(BLAZEPOSE33.names) == theirs
