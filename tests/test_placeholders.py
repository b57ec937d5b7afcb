"""Secrets in sources: refused where they would be stored, filled in at opening, hidden afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinestream.errors import SourceError, UsageError
from kinestream.placeholders import check_storable, fill_secrets

ENVIRONMENT = {"USER_NAME": "viewer", "WORD": "p/ss?w#rd:@%", "HOST": "10.0.0.7:554", "EMPTY": ""}


@pytest.mark.parametrize(
    "source",
    [
        "0",
        "/films/jump.mp4",
        "shots/me@home.jpg",
        "testcard://?motion=walk&seed=7",
        "rtsp://10.0.0.7/stream1",
        "rtsp://viewer@10.0.0.7/stream1",
        "rtsp://viewer:${WORD}@10.0.0.7/stream1",
        "rtsp://${USER}:${file:/run/secrets/door}@10.0.0.7/stream1",
        "rtsp://${USER}:${A}${B}@10.0.0.7/stream1",
        "http://10.0.0.7/video?user=viewer&password=${WORD}&channel=1",
        "rtsp://10.0.0.7/user=viewer_password=${WORD}_channel=1_stream=0.sdp",
        "${CAMERA_URL}",
    ],
)
def test_what_may_be_stored(source: str) -> None:
    check_storable(source)


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://viewer:hunter2@10.0.0.7/stream1",
        "rtsp://viewer:hunter2${WORD}@10.0.0.7/stream1",
        "rtsp://:hunter2@10.0.0.7/stream1",
        "rtsp://viewer:hunter2/x@10.0.0.7/stream1",
        "http://10.0.0.7/video?user=viewer&password=hunter2",
        "http://10.0.0.7/video?PWD=hunter2",
        "http://10.0.0.7/video?token=hunter2&x=1",
        "rtsp://10.0.0.7/user=viewer_password=hunter2_channel=1_stream=0.sdp",
        "faulty://?cut=3&source=rtsp://viewer:hunter2@10.0.0.7/stream1",
    ],
)
def test_a_password_may_not(source: str) -> None:
    with pytest.raises(UsageError, match=r"is not stored: write \$\{NAME\} in its place") as caught:
        check_storable(source)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("source", ["rtsp://${1}@x/", "rtsp://${", "rtsp://${file:relative}@x/", "${a b}"])
def test_an_unfinished_placeholder(source: str) -> None:
    with pytest.raises(UsageError, match=r"a placeholder is \$\{NAME\} or"):
        check_storable(source)


class TestFilling:
    def test_a_login_is_escaped(self) -> None:
        filled = fill_secrets("rtsp://${USER_NAME}:${WORD}@${HOST}/live", ENVIRONMENT)
        assert filled.source == "rtsp://viewer:p%2Fss%3Fw%23rd%3A%40%25@10.0.0.7:554/live"

    def test_so_is_a_query(self) -> None:
        assert fill_secrets("http://c/v?a=1&password=${WORD}", ENVIRONMENT).source == (
            "http://c/v?a=1&password=p%2Fss%3Fw%23rd%3A%40%25"
        )

    def test_a_whole_url_is_not(self) -> None:
        assert fill_secrets("${URL}", {"URL": "rtsp://a:b@c/d?e"}).source == "rtsp://a:b@c/d?e"

    def test_from_a_file(self, tmp_path: Path) -> None:
        secret = tmp_path / "door"
        secret.write_text("geheim\n")
        assert fill_secrets(f"rtsp://a:${{file:{secret}}}@c/d", {}).source == "rtsp://a:geheim@c/d"

    def test_without_placeholders_nothing_changes(self) -> None:
        assert fill_secrets("rtsp://a:b$c@d/{e}", {}).source == "rtsp://a:b$c@d/{e}"

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="the variable NOPE, which the source needs, is not set here"):
            fill_secrets("rtsp://a:${NOPE}@c", ENVIRONMENT)
        with pytest.raises(SourceError, match="the variable EMPTY"):
            fill_secrets("rtsp://a:${EMPTY}@c", ENVIRONMENT)
        with pytest.raises(SourceError, match=r"cannot be read: No such file"):
            fill_secrets(f"rtsp://a:${{file:{tmp_path}/none}}@c", {})
        (tmp_path / "empty").touch()
        with pytest.raises(SourceError, match="is empty"):
            fill_secrets(f"rtsp://a:${{file:{tmp_path}/empty}}@c", {})
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        with pytest.raises(SourceError, match="it is no text"):
            fill_secrets(f"rtsp://a:${{file:{tmp_path}/binary}}@c", {})

    def test_hidden_again_however_it_is_written(self) -> None:
        filled = fill_secrets("rtsp://viewer:${WORD}@c/d", ENVIRONMENT)
        assert filled.hide(f"cannot open {filled.source}: {ENVIRONMENT['WORD']}") == (
            "cannot open rtsp://viewer:${WORD}@c/d: ${WORD}"
        )
        assert "p/ss" not in repr(filled)
        assert "p%2Fss" not in repr(filled)
