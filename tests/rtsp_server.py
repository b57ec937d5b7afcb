"""A live RTSP camera for tests: H.264 pictures from files, over and over, served by GStreamer's RTSP server.

Run it with the system's Python, which has GStreamer (python3-gi, gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-base, gstreamer1.0-plugins-good):

    /usr/bin/python3 rtsp_server.py PORT FOLDER --fps 15 [--user NAME --password WORD --digest]

FOLDER holds one file an encoded picture (Annex B), in the order of their names. The stream is at
rtsp://127.0.0.1:PORT/live. Prints "ready" once it listens. Not for: encoding (see `cameras.py`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

_CAPS = "video/x-h264,stream-format=byte-stream,alignment=au,framerate={fps}/1"


class Camera(GstRtspServer.RTSPMediaFactory):
    """Begins with picture number `first` when somebody connects, and goes round for ever."""

    def __init__(self, pictures: list[bytes], fps: int, first: int) -> None:
        super().__init__()
        self._pictures, self._fps, self._first = pictures, fps, first
        self.set_launch(
            f"( appsrc name=camera is-live=true format=time do-timestamp=true caps={_CAPS.format(fps=fps)}"
            " ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
        )
        self.set_shared(True)
        self.connect("media-configure", self._configured)

    def _configured(self, _: object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name_recurse_up("camera")
        number = self._first

        def push() -> bool:
            nonlocal number
            picture = self._pictures[number % len(self._pictures)]
            number += 1
            return bool(source.emit("push-buffer", Gst.Buffer.new_wrapped(picture)) == Gst.FlowReturn.OK)

        GLib.timeout_add(1000 // self._fps, push)


def _lock(server: GstRtspServer.RTSPServer, camera: Camera, user: str, password: str, digest: bool) -> None:
    """Let only `user` in."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    camera.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--digest", action="store_true")
    options = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    camera = Camera([p.read_bytes() for p in sorted(options.folder.iterdir())], options.fps, options.first)
    if options.user:
        _lock(server, camera, options.user, options.password, options.digest)
    server.get_mount_points().add_factory("/live", camera)
    if not server.attach(None):
        raise SystemExit(f"cannot listen on port {options.port}")
    print("ready", flush=True)  # noqa: T201
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
