"""A camera that sends JPEGs over HTTP (multipart/x-mixed-replace), and misbehaves as a test says.

Not for: what is in the pictures; the test gives them.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MjpegCamera:
    """Serves `pictures` (JPEGs), over and over, at /live; a context manager.

    `stalled` set: accepts connections and sends nothing more. `cut` ends the open connections. `pause_s` is
    the time between two pictures. With `login` ("user:password") it asks for one. `spoil(number)` may give
    other bytes for a picture. `connections` counts requests that were let in.
    """

    def __init__(
        self, pictures: Sequence[bytes], *, port: int = 0, pause_s: float = 0.02, login: str = ""
    ) -> None:
        self.pictures = pictures
        self.pause_s = pause_s
        self.login = login
        self.stalled = threading.Event()
        self.spoil: Callable[[int], bytes | None] = lambda number: None
        self.connections = 0
        self.sent = 0
        self._cuts = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"http://{self.login}{'@' if self.login else ''}127.0.0.1:{self.port}/live"

    def cut(self) -> None:
        """End every open connection."""
        self._cuts += 1

    def stop(self) -> None:
        """End it: connections are cut, and the port is free again."""
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MjpegCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()

    def _parts(self) -> Iterator[bytes]:
        cuts = self._cuts
        for number in range(10**9):
            while self.stalled.is_set() and cuts == self._cuts:
                time.sleep(0.01)
            if cuts != self._cuts:
                return
            picture = self.spoil(number) or self.pictures[number % len(self.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            yield head.encode() + picture + b"\r\n"
            self.sent += 1
            time.sleep(self.pause_s)

    def _handler(camera) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = "Basic " + base64.b64encode(camera.login.encode()).decode()
                if camera.login and self.headers["Authorization"] != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                if not self.path.startswith("/live"):
                    self.send_error(404)
                    return
                camera.connections += 1
                parts = camera._parts()
                first = next(parts, None)  # a camera that is stalled from the start does not even answer
                if first is None:
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):  # whoever watched has gone
                    self.wfile.write(first)
                    for part in parts:
                        self.wfile.write(part)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
