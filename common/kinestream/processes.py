"""Processes that end when they should: signals that drain first, and children that never outlive their owner.

`capture_signals` is for whatever runs until it is told to stop. `start_child` is for commands that start
others (demo, process): it shows the command line as a user would type it, so that they are a tutorial.

Children get a session of their own. So Ctrl-C in a terminal reaches the owner only, which ends them in the
order that makes sense (sources, workers, Redis); a closed terminal ends the owner, and this its children.

Not for: restarting what has died; that is the business of whoever runs Kinestream (systemd, compose).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import click

from kinestream.metrics.telemetry import PORT_VARIABLE
from kinestream.redisurl import safe_url

GRACE_S = 10.0
"""From SIGTERM to SIGKILL: a worker finishes its batch, a recorder closes its file."""

_TETHER = Path(__file__).with_name("tether.py")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def capture_signals() -> Iterator[asyncio.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; the second one cancels the task that entered.

    A third one ends the process on the spot, for the case that some thread hangs. Enter it in the main
    thread, in a running event loop. On the way out the handlers are as they were before. After a second
    signal the block ends with `KeyboardInterrupt`, whatever the signal was.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()
    count = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal count
        count += 1
        if count == 1:
            _log.info("%s: stopping; once more stops at once", number.name)
            stop.set()
        elif count == 2 and task is not None:
            task.cancel()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    except asyncio.CancelledError:
        if count < 2:
            raise
        raise KeyboardInterrupt from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def be_nice(niceness: int, pid: int = 0) -> None:
    """Let others have the cores first, on Linux: the calling thread, or a process that was just started.

    Where cores are scarce, 5 gets a third of what others get, 10 a tenth. Threads and children that are
    started later inherit it. On other systems a thread has no priority of its own, and nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid or threading.get_native_id(), niceness)


def spawn(command: Sequence[str], **popen: Any) -> subprocess.Popen[bytes]:
    """Start `command` (an absolute path, arguments) so that it ends when this process ends, kill -9 included.

    Call it in the main thread, since the kernel's signal comes when the thread that started the command ends.
    On systems other than Linux the command outlives a kill -9 of this process. `popen` is for `Popen`.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "spawn must be called in the main thread: the child ends with the thread that started it"
        )
    tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [*tether, *command], stdin=subprocess.DEVNULL, start_new_session=True, **popen
    )
    return process


class Child:
    """A `kinestream` command that runs as a child of this process; a context manager that stops it.

    `name` is what its lines are prefixed with. Made by `start_child`.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], pump: threading.Thread | None) -> None:
        self.name = name
        self._process = process
        self._pump = pump

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it, as in `subprocess`."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end and for its last lines, return its exit code; raises `TimeoutError`."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout_s} s") from None
        if self._pump is not None:
            self._pump.join(1.0)  # not for ever: a grandchild may hold the pipe open
        return code

    def terminate(self) -> None:
        """Ask it to drain and end (SIGTERM); nothing happens if it has ended."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once (SIGKILL), without a chance to tidy up, and wait for that."""
        self._process.kill()
        self.wait()

    def stop(self, grace_s: float = GRACE_S) -> int:
        """Ask it to end, kill it after `grace_s` seconds; return its exit code."""
        self.terminate()
        try:
            return self.wait(grace_s)
        except TimeoutError:
            _log.warning("%s did not end within %.0f s of SIGTERM and is killed", self.name, grace_s)
            self.kill()
            return self.wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_child(
    arguments: Sequence[str],
    *,
    name: str,
    say: Callable[[str], object] = click.echo,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    folder: Path | None = None,
    prefixed: bool = True,
) -> Child:
    """Show and start `kinestream ARGUMENTS...`; its output goes to `log` if given, else by lines to `say`.

    It runs in `folder`, or where this process runs.

    `environment` is added to this process's own, less the port of its metrics, and shown as a part of the
    command line, without passwords.
    Each line of output is `prefixed` with `name`, and `say` gets it from a thread. Call it in the main
    thread.
    """
    environment = environment or {}
    say("$ " + command_line(arguments, environment))
    command = [sys.executable, "-P", "-m", "kinestream", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != PORT_VARIABLE}
    child_environment = {**inherited, "PYTHONUNBUFFERED": "1", **environment}
    if log is not None:
        with log.open("ab") as file:
            process = spawn(command, env=child_environment, stdout=file, stderr=subprocess.STDOUT, cwd=folder)
        return Child(name, process, None)
    process = spawn(
        command, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder
    )
    assert process.stdout is not None
    pump = threading.Thread(
        target=_pump,
        args=(process.stdout, f"{name} | " if prefixed else "", say),
        name=f"output of {name}",
        daemon=True,
    )
    pump.start()
    return Child(name, process, pump)


def command_line(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the line that a user would type for this command, quoted for a shell, passwords replaced."""
    words = [f"{variable}={shlex.quote(_shown(value))}" for variable, value in environment.items()]
    words += ["kinestream", *(shlex.quote(_shown(argument)) for argument in arguments)]
    return " ".join(words)


def _shown(word: str) -> str:
    if word.startswith(("redis://", "rediss://", "unix://")):
        return safe_url(word)
    word = re.sub(r"(?<=://).*@", "***@", word)  # a camera's login
    # Many cameras take it in the query, some in what looks like one within the path.
    return re.sub(r"(?i)^((?:rtsp|http)s?://[^?]*?(?:\?|/(?=[^?/]*(?:=|%3d)))).*", r"\1***", word)


def _pump(output: IO[bytes], prefix: str, say: Callable[[str], object]) -> None:
    with output:
        for line in output:
            say(prefix + line.decode(errors="replace").rstrip())
