"""Three hosts on one machine: network namespaces for Redis, the worker and the camera, with a wire between
them.

Everything is undone at the end, also after Ctrl-C. Needs root, `ip` and /dev/net/tun. All hosts share this
machine's cores and clock. Not for: what runs on the hosts (see `two_hosts.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOSTS = ("redis", "worker", "camera")
ADDRESS = {host: f"10.77.0.{number}" for number, host in enumerate(HOSTS, 1)}
URL = f"redis://{ADDRESS['redis']}:6379"


def why_not() -> str:
    """What is missing here for hosts to be made, in one line; nothing if all is there."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if shutil.which("ip") is None:
        return "needs the command ip: apt install iproute2"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return ""


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """The three hosts; `namespace` of each, and how they are wired."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._wire: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    def namespace(self, host: str) -> str:
        return f"ks-{self._tag}-{host}"

    def up(self) -> None:
        """Make the hosts and the wire."""
        devices = [f"{host}{self._tag}" for host in HOSTS]
        for host in HOSTS:
            _ip("netns", "add", self.namespace(host))
        command = [sys.executable, str(Path(__file__).with_name("wire.py")), *devices]
        self._wire = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the benchmark: the wire ends when that lets go of it
        )
        assert self._wire.stdout is not None
        if self._wire.stdout.readline() != "ready\n":
            raise OSError("the wire did not come up")
        os.setpriority(os.PRIO_PROCESS, self._wire.pid, -10)  # a real wire does not wait for a core
        for host, device in zip(HOSTS, devices, strict=True):
            namespace = self.namespace(host)
            _ip("link", "set", device, "netns", namespace)
            _ip("-n", namespace, "link", "set", device, "name", "wire")
            _ip("-n", namespace, "addr", "add", f"{ADDRESS[host]}/24", "dev", "wire")
            _ip("-n", namespace, "link", "set", "lo", "up")
            self.link(host, up=True)

    def down(self) -> None:
        """Undo everything; what is gone already is passed over."""
        for process in self._started:
            process.kill()
            process.wait()
        if self._wire is not None:
            with self._wire:  # closes its pipes, which ends it
                pass
        for host in HOSTS:
            with contextlib.suppress(OSError):
                _ip("netns", "del", self.namespace(host))

    def set(self, round_trip_ms: float, mbit_per_s: float) -> None:
        """Let packets take so long, there and back together, and each host send so fast (0: no limit)."""
        assert self._wire is not None and self._wire.stdin is not None
        self._wire.stdin.write(f"{round_trip_ms / 2} {mbit_per_s}\n")
        self._wire.stdin.flush()

    def link(self, host: str, *, up: bool) -> None:
        """Take a host off the wire, or put it back."""
        _ip("-n", self.namespace(host), "link", "set", "wire", "up" if up else "down")

    def bytes(self, host: str) -> tuple[int, int]:
        """Bytes that a host has received and sent over the wire; a large packet's headers count once."""
        shown = _ip("-n", self.namespace(host), "-s", "link", "show", "dev", "wire")
        received, sent = re.findall(r"[RT]X:.*\n\s*(\d+)", shown)
        return int(received), int(sent)

    def start(self, host: str, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command on a host; its output goes to `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(host), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Three hosts for as long as the context lasts."""
    made = Network(f"{os.getpid() % 100_000}")
    # Ends as Ctrl-C does, so that all is undone.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made.up()
        yield made
    finally:
        made.down()
        signal.signal(signal.SIGTERM, before)
