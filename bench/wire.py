"""A wire between hosts that are network namespaces, with a delay and a rate, for kernels without `tc netem`.

    python bench/wire.py NAME …

Makes a TUN device for each name, in this namespace, for the caller to move into another one; the packet that
one of them sends to 10.77.0.<n> comes out of the n-th. A line on standard input, `<delay ms> <Mbit/s>`, sets
the delay of one direction and the rate at which each host sends (0: none, no limit). When standard input
ends, the wire ends, and its devices vanish.

Large packets are handed over as the kernel makes them (up to 64 KiB, cut only for a real network), so that
little of the machine's time goes into the wire. Not for: loss, jitter, or more than about 1 Gbit/s.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import struct
import sys
import time

# <linux/if_tun.h>
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02

VNET_HEADER = 10
"""Bytes before each packet that say which checksums and cuts the kernel has put off; passed on as is."""

LARGEST = VNET_HEADER + 2**16
QUEUED_BYTES = 1_500_000
"""What waits at a host for its turn at most, about netem's thousand packets; beyond it packets are lost."""


def open_tun(name: str) -> int:
    """Make a TUN device and return the file that is its other end."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(end, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return end


class Wire:
    """What is under way between the ends, by the time at which it arrives."""

    def __init__(self, ends: list[int]) -> None:
        self._ends = ends
        self._delay_s = 0.0
        self._bytes_per_s = float("inf")
        self._free_s = dict.fromkeys(ends, 0.0)  # when a host has sent all that it was given
        self._due: list[tuple[float, int, int, bytes]] = []
        self._sent = 0

    def set(self, delay_ms: float, mbit_per_s: float) -> None:
        """Change both for what is sent from now on."""
        self._delay_s = delay_ms / 1000
        self._bytes_per_s = mbit_per_s * 1e6 / 8 or float("inf")

    def send(self, end: int) -> None:
        """Take up what a host has sent."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(end, LARGEST)
                to = packet[VNET_HEADER + 19] - 1  # the last number of an IPv4 packet's destination
                if packet[VNET_HEADER] >> 4 != 4 or not 0 <= to < len(self._ends):
                    continue
                now_s = time.monotonic()
                start_s = max(now_s, self._free_s[end])
                if (start_s - now_s) * self._bytes_per_s > QUEUED_BYTES:
                    continue
                self._free_s[end] = start_s + len(packet) / self._bytes_per_s
                self._sent += 1
                heapq.heappush(
                    self._due, (self._free_s[end] + self._delay_s, self._sent, self._ends[to], packet)
                )

    def deliver(self) -> float | None:
        """Hand over what is due; returns the time until the next packet is, None if there is none."""
        while self._due:
            wait_s = self._due[0][0] - time.monotonic()
            if wait_s > 0:
                return wait_s
            *_, end, packet = heapq.heappop(self._due)
            with contextlib.suppress(OSError):  # that device is down
                os.write(end, packet)
        return None


def main() -> None:
    ends = [open_tun(name) for name in sys.argv[1:]]
    print("ready", flush=True)
    wire = Wire(ends)
    while True:
        wait_s = wire.deliver()
        readable, _, _ = select.select([*ends, sys.stdin.fileno()], [], [], wait_s)
        for end in readable:
            if end != sys.stdin.fileno():
                wire.send(end)
            elif line := os.read(end, 100):
                delay_ms, mbit_per_s = line.split()[-2:]
                wire.set(float(delay_ms), float(mbit_per_s))
            else:
                return


if __name__ == "__main__":
    main()
