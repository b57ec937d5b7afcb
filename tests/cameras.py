"""Network cameras for tests: a real RTSP server, and what is in their pictures: the test card.

Not for: how they are served (see `rtsp_server.py`, `mjpeg_server.py`).
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import pytest

from kinestream.processes import spawn
from kinestream.testcard import TestCard
from servers import free_port
from waiting import wait_until_sync

FPS = 15
CARD = TestCard.parse(f"testcard://?athletes=2&size=640x360&fps={FPS}&motion=squat")
SIZE = (360, 640, 3)

_PYTHON = "/usr/bin/python3"  # PyGObject comes from the system's packages, for the system's Python
_SERVER = Path(__file__).with_name("rtsp_server.py")


@cache
def jpegs() -> list[bytes]:
    """Pictures of the test card."""
    return [bytes(cv2.imencode(".jpg", CARD.draw(number / FPS))[1].data) for number in range(10)]


@cache
def h264() -> list[bytes]:
    """Two seconds of the test card as access units, with a keyframe a second."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width, _ = SIZE
    encoder.pix_fmt = "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "crf": "16",
        # One slice a picture: GStreamer repeats the headers before each slice of a keyframe, which splits it.
        "x264-params": f"keyint={FPS}:scenecut=0:sliced-threads=0",
    }
    units: list[bytes] = []
    for number in range(2 * FPS):
        frame = av.VideoFrame.from_ndarray(CARD.draw(number / FPS), format="bgr24").reformat(format="yuv420p")
        frame.pts = number
        units += map(bytes, encoder.encode(frame))
    return units + [bytes(packet) for packet in encoder.encode(None)]


class RtspCamera:
    """GStreamer's RTSP server in a process of its own, to kill, freeze and start again on its port.

    With `login` ("user:password") it asks for one. `first` is the picture that everybody's stream begins
    with; number 0 is a keyframe. Skips the test where GStreamer is missing.
    """

    def __init__(self, *, login: str = "", digest: bool = False, first: int = 0) -> None:
        _need_gstreamer()
        self.port = free_port()
        self.login = login
        self._directory = tempfile.TemporaryDirectory(prefix="ks-camera-")
        folder = Path(self._directory.name)
        for number, unit in enumerate(h264()):
            (folder / f"{number:03}").write_bytes(unit)
        self._command = [_PYTHON, str(_SERVER), str(self.port), str(folder)]
        self._command += ["--fps", str(FPS), "--first", str(first)]
        if login:
            user, _, password = login.partition(":")
            self._command += ["--user", user, "--password", password, *["--digest"] * digest]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, login: str = "") -> str:
        return f"rtsp://{login}{'@' if login else ''}127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Start it, or start it again, and wait until it listens."""
        log = Path(self._directory.name).with_suffix(".log")
        with log.open("wb") as output:
            self._process = spawn(self._command, stdout=output, stderr=subprocess.STDOUT)
        wait_until_sync(lambda: "ready" in log.read_text() or self._ended(log), "the RTSP server to listen")
        log.unlink()

    def _ended(self, log: Path) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, log.read_text()
        return False

    def kill(self) -> None:
        """End it at once; nothing listens on its port then."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def freeze(self) -> None:
        """Let it hang: connections stay open and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> RtspCamera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._directory.cleanup()


@cache
def _gstreamer_error() -> str:
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer;"
        "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('appsrc', 'rtph264pay'))), 'no plugins'"
    )
    if not Path(_PYTHON).exists():
        return f"no {_PYTHON}"
    done = subprocess.run([_PYTHON, "-c", probe], capture_output=True, text=True, timeout=60)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def _need_gstreamer() -> None:
    if error := _gstreamer_error():
        pytest.skip(f"needs GStreamer's RTSP server for {_PYTHON} (see rtsp_server.py): {error}")
