"""The cameras of `gym.py`: several RTSP streams from GStreamer's server, to kill, start again and freeze.

Run it with the system's Python, which has GStreamer (see tests/rtsp_server.py):

    /usr/bin/python3 gym_rtsp.py PORT FOLDER [--clock WIDTHxHEIGHT]

Each folder in FOLDER is a stream at rtsp://127.0.0.1:PORT/<its name>: one file an encoded picture (Annex B),
in the order of their names, and `fps`. While FOLDER/<name>.frozen exists, that stream sends nothing, and its
connections stay open. With --clock, FOLDER/clock.yuv (I420 pictures, one after another, 15 a second) is a
stream at /clock, encoded as it is sent, with the time of the wall clock drawn into each picture.

Not for: reading it, nor the clock (see `drawnclock.py`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from drawnclock import draw_clock  # noqa: E402
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

_ENCODED = "video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1"
_RAW = "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
_CLOCK_FPS = 15


class Stream(GstRtspServer.RTSPMediaFactory):
    """Sends what `picture(number)` gives, `fps` times a second, from 0 on for who connects first."""

    def __init__(self, launch: str, fps: int, picture: Callable[[int], bytes], frozen: Path) -> None:
        super().__init__()
        self._fps, self._picture, self._frozen = fps, picture, frozen
        self.set_launch(f"( appsrc name=camera is-live=true format=time do-timestamp=true {launch} )")
        self.set_shared(True)
        self.connect("media-configure", self._configured)

    def _configured(self, _: object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name_recurse_up("camera")
        began, number, over = time.monotonic(), 0, False

        def end(_: object) -> None:
            nonlocal over
            over = True

        def push() -> bool:
            nonlocal began, number
            if over:
                return False
            if self._frozen.exists():
                began, number = time.monotonic(), 0  # what was not sent is not made up for
                return True
            if time.monotonic() - began < number / self._fps:
                return True
            buffer = Gst.Buffer.new_wrapped(self._picture(number))
            if source.emit("push-buffer", buffer) == Gst.FlowReturn.OK:  # else it does not play yet
                number += 1
            return True

        media.connect("unprepared", end)
        GLib.timeout_add(4, push)


def _encoded(folder: Path) -> Stream:
    pictures = [one.read_bytes() for one in sorted(folder.iterdir()) if one.name != "fps"]
    fps = int((folder / "fps").read_text())
    launch = f"caps={_ENCODED.format(fps=fps)} ! rtph264pay name=pay0 pt=96 config-interval=-1"
    return Stream(launch, fps, lambda number: pictures[number % len(pictures)], folder.with_suffix(".frozen"))


def _clock(file: Path, width: int, height: int) -> Stream:
    size = width * height * 3 // 2
    film = file.read_bytes()
    pictures = [film[at : at + size] for at in range(0, len(film), size)]

    def picture(number: int) -> bytes:
        drawn = bytearray(pictures[number % len(pictures)])
        draw_clock(drawn, width, height)
        return bytes(drawn)

    caps = _RAW.format(fps=_CLOCK_FPS, width=width, height=height)
    encoder = f"x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={_CLOCK_FPS}"
    launch = f"caps={caps} ! {encoder} ! rtph264pay name=pay0 pt=96 config-interval=0"
    return Stream(launch, _CLOCK_FPS, picture, file.with_suffix(".frozen"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clock")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    mounts = server.get_mount_points()
    for folder in sorted(one for one in options.folder.iterdir() if one.is_dir()):
        mounts.add_factory(f"/{folder.name}", _encoded(folder))
    if options.clock:
        width, height = map(int, options.clock.split("x"))
        mounts.add_factory("/clock", _clock(options.folder / "clock.yuv", width, height))
    if not server.attach(None):
        raise SystemExit(f"cannot listen on port {options.port}")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
