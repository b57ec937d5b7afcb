"""A small HTTP server in a thread: `/metrics`, `/healthz` and `/readyz`.

It answers from what the event loop has left lying there, never asks the loop, and so neither waits for one
that is stuck nor holds it up. It is meant for a private network: it knows no passwords. Not for: anything but
these three pages.
"""

from __future__ import annotations

import http.server
import logging
import socket
import socketserver
import threading
from types import TracebackType
from typing import ClassVar, Self

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from kinestream.errors import UsageError
from kinestream.metrics.health import Health

_REQUEST_S = 5.0
"""For a whole request; whoever connects and says nothing must not hold a thread for ever."""

_END_S = 0.1
"""Between two looks whether to end: no process shall end much later for it."""

_TEXT = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


class MetricsServer:
    """Listens from its making on, answers while it is entered. `registry` is where collectors go.

    `port` 0 is any free port; `url` says which. Raises `UsageError` if it cannot listen there.
    """

    def __init__(self, host: str, port: int, health: Health, version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Build(version))
        try:
            self._server = _Server(host, port, self.registry, health)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"cannot serve metrics on {_address(host, port)}: {why}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_END_S,), name="metrics", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        host, port = self._server.server_address[:2]
        return f"http://{_address(str(host), int(port))}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Build:
    """Which version of Kinestream this is, as a metric whose value says nothing."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> list[GaugeMetricFamily]:
        build = GaugeMetricFamily(
            "kinestream_build_info", "Always 1; the label is Kinestream's version.", labels=["version"]
        )
        build.add_metric([self._version], 1)
        return [build]


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a request under way must not hold up the end of the process

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        self.registry = registry
        self.health = health
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking DNS for this host's name, which http.server would do, and may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _REQUEST_S
    server_version = "kinestream"
    sys_version = ""
    server: _Server
    _pages: ClassVar[tuple[str, ...]] = ("/metrics", "/healthz", "/readyz")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        health = self.server.health
        match path:
            case "/metrics":
                self._metrics()
            case "/healthz":
                self._say(health.stuck, "alive")
            case "/readyz":
                self._say(health.unready, "ready")
            case _:
                self._answer(404, _TEXT, f"there are {', '.join(self._pages)}\n".encode())

    do_HEAD = do_GET

    def _metrics(self) -> None:
        encode, kind = choose_encoder(self.headers.get("Accept") or "")
        try:
            page = encode(self.server.registry)
        except Exception:  # a bug of ours, which must be seen, and must not end the process
            _log.exception("the metrics cannot be told")
            self._answer(500, _TEXT, b"a bug, see the log\n")
            return
        self._answer(200, kind, page)

    def _say(self, trouble: str, well: str) -> None:
        self._answer(503 if trouble else 200, _TEXT, f"{trouble or well}\n".encode())

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        _log.debug("%s: " + format, self.address_string(), *args)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
