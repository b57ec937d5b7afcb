"""A real HTTP server whose answers are what servers, proxies and broken lines really give: half a file, a
length that is not true, a web page, silence.

Not for: product code, or for what is in the files.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import ssl
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], object]
"""Writes one answer to a request."""


class LyingServer:
    """A server on a free port of this machine; a context manager. `certificate` makes it an https server."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.asked: list[tuple[str, Message]] = []
        """Path and headers of each request, in order."""
        self.released = threading.Event()
        """Set at the end, and by tests: whoever stalls goes on."""
        self._answers: dict[str, list[Answer]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def on(self, path: str, *answers: Answer) -> str:
        """Give these answers to the requests for a path, the last of them ever again; return its URL."""
        self._answers[path] = [*answers]
        return self.url + path

    def headers(self, name: str) -> list[str | None]:
        """A header of all requests."""
        return [headers[name] for _, headers in self.asked]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        lying = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_lies = lying

            def do_GET(self) -> None:
                lying.asked.append((self.path, self.headers))
                answers = lying._answers.get(self.path, [status(404)])
                self.close_connection = True
                with contextlib.suppress(ConnectionError):
                    (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def __enter__(self) -> LyingServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def file(
    body: bytes, *, etag: str | None = '"1"', modified: str | None = None, ranges: bool = True
) -> Answer:
    """What a good server does: it knows ranges, and answers in full if the version is another one."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(asked[1]) if asked and ranges else 0
        if request.headers.get("If-Range", etag or modified) != (etag or modified):
            start = 0
        if start and start >= len(body):
            begin(request, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
            return
        headers = {"Content-Length": str(len(body) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        begin(request, 206 if start else 200, headers | _version(etag, modified))
        request.wfile.write(body[start:])

    return answer


def claims(
    length: int | None, body: bytes, *, etag: str | None = '"1"', modified: str | None = None
) -> Answer:
    """A body with this Content-Length, true or not, or without one; the connection ends after it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        headers = {} if length is None else {"Content-Length": str(length)}
        begin(request, 200, headers | _version(etag, modified))
        request.wfile.write(body)

    return answer


def partial(start: int, body: bytes, *, etag: str = '"1"', total: int | None = None) -> Answer:
    """206 with whatever range and version, asked for or not."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        last = start + len(body) - 1
        headers = {
            "Content-Range": f"bytes {start}-{last}/{total or last + 1}",
            "Content-Length": str(len(body)),
        }
        begin(request, 206, headers | _version(etag, None))
        request.wfile.write(body)

    return answer


def chunked(body: bytes, *, ends: bool = True) -> Answer:
    """In chunks, with the one that marks the end, or without it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        begin(request, 200, {"Transfer-Encoding": "chunked"})
        for at in range(0, len(body), 1000):
            chunk = body[at : at + 1000]
            request.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if ends:
            request.wfile.write(b"0\r\n\r\n")

    return answer


def stalls(body: bytes, length: int, *, etag: str | None = '"1"') -> Answer:
    """The beginning of a file, then nothing more until the server is released."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        begin(request, 200, {"Content-Length": str(length)} | _version(etag, None))
        request.wfile.write(body)
        _server_of(request).released.wait()

    return answer


def trickles(length: int, every_s: float) -> Answer:
    """One byte at a time, until the server is released."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        begin(request, 200, {"Content-Length": str(length)})
        while not _server_of(request).released.wait(every_s):
            request.wfile.write(b"x")

    return answer


def silent(request: BaseHTTPRequestHandler) -> None:
    """No answer at all, until the server is released."""
    _server_of(request).released.wait()


def hangs_up(request: BaseHTTPRequestHandler) -> None:
    """Ends the connection without an answer."""


def status(code: int) -> Answer:
    """A status, with a page that says something else."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = b"<html><body>All is well.</body></html>"
        begin(request, code, {"Content-Length": str(len(body)), "Content-Type": "text/html"})
        request.wfile.write(body)

    return answer


def redirect(to: str, code: int = 302) -> Answer:
    """To another address."""
    return lambda request: begin(request, code, {"Location": to, "Content-Length": "0"})


def gzipped(body: bytes) -> Answer:
    """Compressed, whether it was asked for or not."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        packed = gzip.compress(body)
        begin(request, 200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))})
        request.wfile.write(packed)

    return answer


def begin(request: BaseHTTPRequestHandler, code: int, headers: dict[str, str]) -> None:
    """Status and headers of an answer."""
    request.send_response(code)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Connection", "close")
    request.end_headers()


def _version(etag: str | None, modified: str | None) -> dict[str, str]:
    named = {"ETag": etag, "Last-Modified": modified}
    return {name: value for name, value in named.items() if value is not None}


def _server_of(request: BaseHTTPRequestHandler) -> LyingServer:
    server: LyingServer = request.server_lies  # type: ignore[attr-defined]
    return server
