"""URLs of cameras: what is shown of them, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kinestream.errors import SourceError
from kinestream.keys import check_camera
from kinestream_ingest.sources.address import parse_address


@pytest.mark.parametrize(
    ("url", "shown", "camera"),
    [
        ("rtsp://cam/live", "rtsp://cam/live", "cam-live"),
        ("rtsp://u:secret@192.168.1.20:554/Streaming/101", "rtsp://192.168.1.20:554/Streaming/101", None),
        ("rtsp://u:secret@cam/live?token=secret#secret", "rtsp://cam/live", "cam-live"),
        ("http://u:sec@ret@cam:8080/v.mjpg", "http://cam:8080/v.mjpg", "cam-v.mjpg"),
        ("https://secret@cam", "https://cam", "cam"),
        ("rtsps://u:s%2Fecret@[fe80::1]:322/a%20b", "rtsps://[fe80::1]:322/a%20b", "fe80-1-a-b"),
        ("RTSP://u:secret@CAM/Live", "rtsp://cam/Live", "cam-Live"),
        ("rtsp://cam:554/user=admin_password=secret_channel=1.sdp", "rtsp://cam:554/…", "cam"),
        ("http://cam/live/user%3Dme%26pw%3Dsecret/1", "http://cam/live/…", "cam-live"),
    ],
)
def test_shows_the_place_only(url: str, shown: str, camera: str | None) -> None:
    address = parse_address(url)
    assert address.shown == shown
    assert check_camera(address.camera) == (camera or "192.168.1.20-Streaming-101")
    assert "secret" not in repr(address)
    assert address.url.lower() == url.lower()
    assert address.url.startswith(address.scheme)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://u:sec/ret@cam/live",
        "rtsp://u:sec?ret@cam/live",
        "rtsp://u:sec#ret@cam/live",
        "rtsp://u:12/secret@cam/live",
        "rtsp://u:12@3/secret@cam/live",
        "rtsp://u:secret@/live",
        "rtsp://u:secret@cam:99999/live",
        "rtsp://u:secret@[::1/live",
        "rtsp://u:secret@cam/li ve",
        "rtsp://",
        "gopher://u:secret@cam/",
    ],
)
def test_what_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(SourceError, match="the URL of the camera") as raised:
        parse_address(url)
    assert "sec" not in str(raised.value)
    assert "\n" not in str(raised.value)


@given(password=st.text(min_size=1, max_size=12))
@example("pa:ss@/w?o#r[d")
@example("12/34")
def test_no_password_is_ever_shown(password: str) -> None:
    """Whatever stands where the password should be, typed as it is, the words around it are what is shown."""
    mark = "Zq9xSecret"
    try:
        address = parse_address(f"rtsp://user:{mark}{password}{mark}@cam/live")
    except SourceError as error:
        assert mark not in str(error)
    else:
        assert (address.shown, address.camera) == ("rtsp://cam/live", "cam-live")
