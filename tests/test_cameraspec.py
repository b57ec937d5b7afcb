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
    "region": [[10.0, 20.0], [300.0, 20.0], [200.0, 400.0]],
    "rotation": 90,
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
    assert spec.region == ((10, 20), (300, 20), (200, 400))


def test_what_is_as_by_default_is_left_out() -> None:
    plain = {"name": "a", "source": "0"}
    assert CameraSpec.from_plain(plain | {"every": 1, "lane": None, "paused": False}).to_plain() == plain


def test_a_box_is_a_region_with_four_corners() -> None:
    spec = CameraSpec(name="a", source="0", region=[100, 50, 640, 480])  # type: ignore[arg-type]
    assert spec.region == ((100, 50), (740, 50), (740, 530), (100, 530))


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
        "rotation": 45,
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
        ("every", True, "must be a whole number, at least 1, got True"),
        ("every", 2.0, "must be a whole number, at least 1, got 2.0"),
        ("quality", 0, "must be a whole number from 1 to 100, got 0"),
        ("lane", ["live"], "must be live or every-frame, got list of length 1"),
        ("region", [10, 10, 0, 5], "a box must be wider and higher than 0, got 0 by 5"),
        ("region", [[0, 0], [5, 5], [10, 10]], "the corners enclose nothing"),
        ("region", [[0, 0], [5, 5]], "must be a box [x, y, width, height] or 3 to 64 corners"),
        ("region", [[0, 0], [5, -5], [9, 9]], "in pixels that are at least 0"),
        ("region", [[0, float("nan")], [5, 5], [9, 0]], "must be a box"),
        ("region", "1,2,3,4", "must be a box"),
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
    with pytest.raises(UsageError, match="camera 'a': rotation: must be 0, 90, 180, 270 degrees"):
        CameraSpec(name="a", source="0", rotation=91)


def test_a_password_is_not_stored() -> None:
    with pytest.raises(SpecError) as caught:
        CameraSpec(name="a", source="rtsp://viewer:hunter2@10.0.0.7/x")
    assert "hunter2" not in str(caught.value)
    assert "source: a password is not stored: write ${NAME} in its place" in str(caught.value)
