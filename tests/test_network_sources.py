"""Network cameras, from real servers: MJPEG over HTTP, H.264 from GStreamer's RTSP server, and their faults.

The servers are on this machine; passwords are asked for by them, and looked for wherever they must not be.
"""

from __future__ import annotations

import functools
import gc
import http.server
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby, islice, pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from cameras import CARD, SIZE, RtspCamera, h264, jpegs
from kinestream.errors import SourceError
from kinestream.video import VideoWriter
from kinestream_ingest.sources import NoPicture, Source, open_source, readahead
from mjpeg_server import MjpegCamera
from waiting import wait_until_sync

SECRET = "Zq9xSecret"


@pytest.fixture
def mjpeg() -> Iterator[MjpegCamera]:
    with MjpegCamera(jpegs()) as camera:
        yield camera


@pytest.fixture
def rtsp() -> Iterator[RtspCamera]:
    with RtspCamera() as camera:
        yield camera


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that lets everybody in and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def pictures(source: Source, count: int) -> list[np.ndarray]:
    """So many pictures that did not have to give way."""
    found = []
    for frame in source:
        try:
            found.append(frame.picture(""))
        except NoPicture:
            continue
        if len(found) == count:
            break
    source.close()
    return found


def is_the_card(image: np.ndarray) -> bool:
    """Whether this is a picture of the card, within what a codec does to it."""
    near = [np.abs(image.astype(int) - CARD.draw(n / CARD.fps)).mean() for n in range(2 * int(CARD.fps))]
    return min(near) < 4


class TestMjpeg:
    def test_gives_pictures_that_are_captured_as_they_come(self, mjpeg: MjpegCamera) -> None:
        before_us = time.time_ns() // 1000
        source = open_source(mjpeg.url)
        assert (source.live, source.returns, source.frames) == (True, True, None)
        assert (source.height, source.width, 3) == SIZE
        assert (source.name, source.description) == ("127.0.0.1-live", f"http://127.0.0.1:{mjpeg.port}/live")
        frames = [*islice(source, 5)]
        source.close()
        times = [frame.captured_us for frame in frames]
        assert before_us < times[0] < times[-1] <= time.time_ns() // 1000
        assert times == sorted(times)
        assert {frame.media_time_s for frame in frames} == {None}

    def test_shows_the_pictures_that_are_sent(self, mjpeg: MjpegCamera) -> None:
        assert [is_the_card(image) for image in pictures(open_source(mjpeg.url), 3)] == [True] * 3

    def test_with_a_login(self) -> None:
        with MjpegCamera(jpegs(), login=f"viewer:{SECRET}") as camera:
            source = open_source(f"{camera.url}?token={SECRET}")
            assert len(pictures(source, 2)) == 2
            assert SECRET not in source.name + source.description

    def test_with_the_wrong_login(self) -> None:
        with MjpegCamera(jpegs(), login="viewer:other") as camera:
            url = camera.url.replace("other", SECRET) + f"?token={SECRET}"
            with pytest.raises(SourceError, match=r"cannot watch http://127\.0.*/live: .*401") as raised:
                open_source(url)
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None, "libav's own error repeats the URL"

    def test_garbage_in_between_is_given_up_on_and_counted(self, mjpeg: MjpegCamera) -> None:
        mjpeg.spoil = lambda number: b"no JPEG " * 20 if number % 3 == 2 else None
        source = open_source(mjpeg.url, pace="unpaced")
        causes = []
        for frame in islice(source, 8):
            try:
                assert frame.picture("").shape == SIZE
                causes.append("")
            except NoPicture as error:
                causes.append(error.cause)
        source.close()
        assert causes == ["", "", "undecodable"] * 2 + ["", ""]

    def test_nothing_but_garbage_is_no_camera(self, mjpeg: MjpegCamera) -> None:
        mjpeg.spoil = lambda number: b"no JPEG " * 20
        with pytest.raises(SourceError, match="no picture came for 1 s"):
            open_source(mjpeg.url, timeout_s=1)

    def test_a_cut_connection_breaks_the_source(self, mjpeg: MjpegCamera) -> None:
        source = open_source(mjpeg.url)
        frames = iter(source)
        next(frames)
        mjpeg.cut()
        with pytest.raises(SourceError, match="the connection was closed"):
            for _ in frames:
                pass

    def test_a_stall_breaks_the_source(self, mjpeg: MjpegCamera) -> None:
        source = open_source(mjpeg.url, timeout_s=0.5)
        frames = iter(source)
        next(frames)
        mjpeg.stalled.set()
        with pytest.raises(SourceError, match=r"no picture came for 0\.5 s"):
            for _ in frames:
                pass

    def test_close_ends_a_stalled_source_at_once(self, mjpeg: MjpegCamera) -> None:
        source = open_source(mjpeg.url, timeout_s=60)
        ended = threading.Event()

        def watch() -> None:
            for _ in source:
                pass
            ended.set()

        threading.Thread(target=watch, daemon=True).start()
        mjpeg.stalled.set()
        source.close()
        assert ended.wait(10)

    def test_a_process_ends_though_a_camera_hangs(self, mjpeg: MjpegCamera) -> None:
        script = (
            "import sys; from kinestream_ingest.sources import open_source\n"
            "frames = iter(open_source(sys.argv[1], timeout_s=600)); next(frames)\n"
            "print('ready', flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, mjpeg.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            mjpeg.stalled.set()
            process.communicate("\n", timeout=30)
        assert process.returncode == 0

    def test_other_sizes_midway_are_other_sizes(self) -> None:
        import cv2

        small = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
        with MjpegCamera([jpegs()[0], small]) as camera:
            shapes = {image.shape for image in pictures(open_source(camera.url), 6)}
        assert shapes == {SIZE, (48, 64, 3)}

    def test_a_page_is_no_camera(self, tmp_path: Path) -> None:
        (tmp_path / "index.html").write_text("<p>a camera's page</p>")
        with serving(tmp_path) as url, pytest.raises(SourceError, match="invalid data found"):
            open_source(f"{url}/index.html")

    def test_a_playlist_does_not_lead_to_files(self, tmp_path: Path) -> None:
        film = tmp_path / "film.mp4"
        write_film(film)
        (tmp_path / "list.m3u8").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{film}\n#EXT-X-ENDLIST\n"
        )
        with serving(tmp_path) as url, pytest.raises(SourceError):
            open_source(f"{url}/list.m3u8", timeout_s=2)


def write_film(path: Path) -> None:
    with VideoWriter(path, 64, 48) as writer:
        for number in range(6):
            writer.write(np.full((48, 64, 3), 40 * number, np.uint8), number / 10)


def spoil_title(path: Path) -> None:
    """Give a film's metadata bytes that are no UTF-8, as programs without Unicode write them."""
    whole = path.read_bytes()
    assert whole.count(b"Lavf") == 1, "the name of the program that wrote it"
    path.write_bytes(whole.replace(b"Lavf", b"L\xe4vf"))


class serving:
    """The files of a folder over HTTP; gives the URL."""

    def __init__(self, folder: Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://viewer:{SECRET}@127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class TestRecordings:
    def test_a_film_behind_a_url_is_a_recording(self, tmp_path: Path) -> None:
        write_film(tmp_path / "film.mp4")
        with serving(tmp_path) as url:
            source = open_source(f"{url}/film.mp4?token={SECRET}")
            assert (source.live, source.returns, source.frames) == (False, False, 6)
            frames = [*source]
        assert source.name == "127.0.0.1-film.mp4"
        assert source.description.endswith("/film.mp4")
        assert [frame.media_time_s for frame in frames] == pytest.approx([n / 10 for n in range(6)])
        assert [f.captured_us - frames[0].captured_us for f in frames] == [n * 100_000 for n in range(6)]
        assert SECRET not in source.name + source.description

    def test_whose_title_is_not_utf_8(self, tmp_path: Path) -> None:
        write_film(tmp_path / "film.mp4")
        spoil_title(tmp_path / "film.mp4")
        with serving(tmp_path) as url:
            assert len([*open_source(f"{url}/film.mp4")]) == 6

    def test_so_is_a_single_picture(self, tmp_path: Path) -> None:
        (tmp_path / "snapshot.jpg").write_bytes(jpegs()[0])
        with serving(tmp_path) as url:
            source = open_source(f"{url}/snapshot.jpg")
            assert (source.returns, len([*source])) == (False, 1)

    def test_that_is_damaged_says_so_without_its_url(self, tmp_path: Path) -> None:
        write_film(tmp_path / "film.mp4")
        whole = (tmp_path / "film.mp4").read_bytes()
        (tmp_path / "film.mp4").write_bytes(whole[:-60])
        with serving(tmp_path) as url:
            source = open_source(f"{url}/film.mp4?token={SECRET}")
            with pytest.raises(SourceError, match=r"/film\.mp4 is damaged") as raised:
                for _ in source:
                    pass
        assert SECRET not in str(raised.value)


class TestRtsp:
    def test_gives_pictures(self, rtsp: RtspCamera) -> None:
        before_us = time.time_ns() // 1000
        source = open_source(rtsp.url())
        assert (source.live, source.returns, source.frames) == (True, True, None)
        assert (source.height, source.width, 3) == SIZE
        assert source.description == f"rtsp://127.0.0.1:{rtsp.port}/live"
        frames = [*islice(source, 8)]
        times = [frame.captured_us for frame in frames]
        assert before_us < times[0] < times[-1] <= time.time_ns() // 1000
        assert times == sorted(times)
        assert is_the_card(pictures(source, 1)[0])

    @pytest.mark.parametrize("digest", [False, True])
    def test_asks_for_a_login(self, digest: bool) -> None:
        word = "p@:/?#" + SECRET
        escaped = f"viewer:p%40%3A%2F%3F%23{SECRET}"
        with RtspCamera(login=f"viewer:{word}", digest=digest) as camera:
            source = open_source(camera.url(escaped))
            assert len(pictures(source, 2)) == 2
            assert SECRET not in source.name + source.description
            for wrong in ("", f"viewer:{SECRET}"):
                with pytest.raises(SourceError, match="401 Unauthorized") as raised:
                    open_source(camera.url(wrong))
                assert SECRET not in str(raised.value)

    def test_who_comes_between_two_keyframes_waits_for_the_next_one_quietly(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with RtspCamera(first=len(h264()) // 2 - 5) as camera:  # 10 pictures after a keyframe
            source = open_source(camera.url(), pace="unpaced")
            shown = [is_the_card(frame.picture("")) for frame in islice(source, 3)]
            source.close()
        assert shown == [True] * 3, "nothing grey, and no frame that was given up on"
        assert capfd.readouterr() == ("", "")

    def test_a_server_that_dies_breaks_the_source(self, rtsp: RtspCamera) -> None:
        source = open_source(rtsp.url())
        frames = iter(source)
        next(frames)
        rtsp.kill()
        with pytest.raises(SourceError, match="connection"):
            for _ in frames:
                pass

    def test_a_server_that_hangs_breaks_the_source(self, rtsp: RtspCamera) -> None:
        source = open_source(rtsp.url(), timeout_s=1)
        frames = iter(source)
        next(frames)
        rtsp.freeze()
        with pytest.raises(SourceError, match="no picture came for 1 s"):
            for _ in frames:
                pass

    def test_nothing_is_left_of_connections_that_are_over(self, rtsp: RtspCamera) -> None:
        """A decoder has threads that Python does not know, as many as there are cores."""
        others = {*readahead._running}  # those of other tests may still wait for something
        gc.disable()  # by itself it runs after so many allocations, which here may take hours
        try:
            counts = []
            for _ in range(4):
                frames = iter(open_source(rtsp.url()))
                next(frames)
                rtsp.kill()
                with pytest.raises(SourceError):
                    for _ in frames:
                        pass
                rtsp.start()
                wait_until_sync(lambda: not readahead._running - others, "the connection to be closed")
                counts.append(psutil.Process().num_threads())
        finally:
            gc.enable()
        assert counts[-1] <= counts[1]

    def test_over_udp_and_of_its_own_clock_once_it_tells_it(self, rtsp: RtspCamera) -> None:
        source = open_source(f"{rtsp.url()}?transport=udp")
        assert source.clock == "arrival"
        clocks, seen = [], []
        for frame in source:  # the first sender report comes after some seconds
            clocks.append(frame.clock)
            if frame.clock == "camera":
                seen.append(frame.captured_us)
            if len(seen) == 8:
                break
        assert source.clock == "camera"
        source.close()
        late_s = time.time() - seen[-1] / 1e6
        assert 0 < late_s < 20
        steps = [later - earlier for earlier, later in pairwise(seen)]
        assert all(0 < step < 1_000_000 for step in steps)
        assert [name for name, _ in groupby(clocks)] == ["arrival", "camera"]

    def test_a_path_that_is_not_there(self, rtsp: RtspCamera) -> None:
        with pytest.raises(SourceError, match=r"cannot watch rtsp://.*/none: .*404"):
            open_source(rtsp.url().replace("/live", "/none"))


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
class TestNobody:
    def test_a_server_that_never_answers_is_given_up_on(self, silent: int, scheme: str) -> None:
        with pytest.raises(SourceError, match=r"no picture came for 0\.5 s") as raised:
            open_source(f"{scheme}://viewer:{SECRET}@127.0.0.1:{silent}/live", timeout_s=0.5)
        assert SECRET not in str(raised.value)

    def test_nobody_listens(self, silent: int, scheme: str) -> None:
        with pytest.raises(SourceError, match=r"cannot watch .*: connection refused"):
            open_source(f"{scheme}://viewer:{SECRET}@127.0.0.1:1/live")

    def test_threads_end(self, silent: int, scheme: str) -> None:
        before = {*threading.enumerate()}  # those of other tests may still wait for something
        with pytest.raises(SourceError):
            open_source(f"{scheme}://127.0.0.1:{silent}/live", timeout_s=0.2)
        wait_until_sync(
            lambda: not {*threading.enumerate()} - before,
            "the thread that tried to connect to end",
        )
