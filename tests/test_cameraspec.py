"""A camera's options: checked all at once, each by its name, and the same after a way through a plain map."""

from __future__ import annotations

from typing import Any

import pytest

from kinestream.cameraspec import FIELDS, CameraSpec
from kinestream.errors import SpecError, UsageError

FULL: dict[str, Any] = {
    "name": "mat-1",
    "source": "rtsp://viewer:${MAT_PASSWORD}@10.0.0.7/stream1",
    "lane": "live",
    "max_fps": 12.5,
    "every": 2,
    "max_side": 640,
    "quality": 70,
    "region": "10%,20% 30%,20% 20%,40%",
    "rotate": 90,
    "priority": 9,
    "max_age_ms": 300,
    "clock_offset_ms": -40.5,
    "realtime": True,
    "reconnect": False,
    "timeout_s": 4.0,
    "paused": True,
    "producer": "hall",
}


def test_every_option_survives_a_plain_map() -> None:
    assert set(FULL) == set(FIELDS)
    spec = CameraSpec.from_plain(FULL)
    assert spec.to_plain() == FULL
    assert CameraSpec.from_plain(spec.to_plain()) == spec
    assert spec.timeout_s == 4.0


def test_what_is_as_by_default_is_left_out() -> None:
    plain = {"name": "a", "source": "0"}
    assert CameraSpec.from_plain(plain | {"every": 1, "lane": None, "paused": False}).to_plain() == plain


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ([100, 50.5, 640, 480], "100,50.5,640,480"),
        ([[10, 20], [300, 20], [200, 400]], "10,20 300,20 200,400"),
        (" 10%,20%  30%,20% 20%,40%", "10%,20% 30%,20% 20%,40%"),
    ],
)
def test_a_region_is_a_text_or_a_list_of_pixels(region: Any, text: str) -> None:
    assert CameraSpec(name="a", source="0", region=region).region == text


def test_all_mistakes_are_found_at_once() -> None:
    wrong: dict[str, Any] = {
        "name": "a b",
        "source": "",
        "lane": "fast",
        "max_fps": 0,
        "every": 0,
        "max_side": 15,
        "quality": 101,
        "region": [1, 2, 3],
        "rotate": 45,
        "priority": 10,
        "max_age_ms": 0,
        "clock_offset_ms": "3",
        "realtime": 1,
        "reconnect": "yes",
        "timeout_s": float("inf"),
        "paused": 0,
        "producer": "",
    }
    with pytest.raises(SpecError) as caught:
        CameraSpec.from_plain(wrong | {"fsp": 30})
    assert {error.field for error in caught.value.errors} == set(FIELDS) | {"'fsp'"}
    assert str(caught.value).startswith("camera 'a b': 'fsp': no such option; there are name, source, lane, ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("every", True, "must be a whole number from 1 to 1000000000, got True"),
        ("every", 2.0, "must be a whole number from 1 to 1000000000, got 2.0"),
        ("every", 2**64, "must be a whole number from 1 to 1000000000, got 18446744073709551616"),
        ("max_age_ms", 9 * 10**18, "must be a whole number from 1 to 1000000000, got 9000000000000000000"),
        ("timeout_s", 1e12, "must be a number above 0, 86400 at most, got 1000000000000.0"),
        ("clock_offset_ms", -1e13, "must be a number of milliseconds, 4000000000000 at most, got -1000"),
        ("quality", 0, "must be a whole number from 1 to 100, got 0"),
        ("lane", ["live"], "must be live or every-frame, got list of length 1"),
        ("region", [10, 10, 0, 5], "a region must be at least 16x16 pixels, got 10,10,0,5"),
        ("region", [[0, 0], [5, 5], [10, 10]], "enclose nothing"),
        ("region", [[0, 0], [50, 50]], "a region is a box X,Y,WIDTH,HEIGHT or a polygon X,Y X,Y X,Y…"),
        ("region", [[0, 0], [50, -5], [90, 90]], "got '0,0 50,-5 90,90'"),
        ("region", [[0, float("nan")], [5, 5], [9, 0]], "a region is a box"),
        ("region", [[0, "x"], [5, True], [9, 0]], "a region is a box"),
        ("region", [], "a region is a box"),
        ("region", 5, "a region is a box"),
        ("region", "0,0,300%,10%", "all in pixels or all in percent"),
        ("rotate", 45, "must be 0, 90, 180 or 270, got 45"),
        ("rotate", True, "must be 0, 90, 180 or 270, got True"),
        ("source", "a\nb", "has control characters in it"),
        ("source", "x" * 3000, "must have 1 to 2048 characters, got 3000"),
        ("producer", "a/b", "a producer's name is 1 to 64 of"),
        ("name", 5, "must be text, got 5"),
    ],
)
def test_what_is_wrong_is_said(field: str, value: Any, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        CameraSpec.from_plain({"name": "a", "source": "0"} | {field: value})
    assert [error.field for error in caught.value.errors] == [field]
    assert text in caught.value.errors[0].text


def test_name_and_source_must_be_there() -> None:
    with pytest.raises(SpecError, match="camera '': name: is missing; source: is missing"):
        CameraSpec.from_plain({})


def test_the_constructor_checks_as_well() -> None:
    with pytest.raises(UsageError, match="camera 'a': rotate: must be 0, 90, 180 or 270, got 91"):
        CameraSpec(name="a", source="0", rotate=91)


def test_a_password_is_not_stored() -> None:
    with pytest.raises(SpecError) as caught:
        CameraSpec(name="a", source="rtsp://viewer:hunter2@10.0.0.7/x")
    assert "hunter2" not in str(caught.value)
    assert "source: a password is not stored: write ${NAME} in its place" in str(caught.value)
