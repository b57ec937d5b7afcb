"""What a worker's process sets once, so that a picture costs its arithmetic and little else, at any time.

Not for: a library in somebody else's process, whose allocator and threads are not ours to set.
"""

from __future__ import annotations

import ctypes
import gc
import sys

import cv2

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, <malloc.h>."""

LARGEST_KEPT = 32 * 2**20
"""glibc takes no more. A larger picture, of 11 megapixels, is mapped and unmapped each time."""

MOST_KEPT = 64 * 2**20
"""Free memory at the end of an arena that stays with the process, and one arena has each thread at most."""


def be_thrifty() -> None:
    """Keep memory that was freed, and let OpenCV work on the thread that calls it.

    By default glibc gives the megabyte of a decoded picture back to the system as soon as it is free, and
    takes it anew for the next one: on a virtual machine the page faults cost twice what decoding costs. And
    OpenCV's own threads, beside a pool that decodes several pictures at once, wait for one another by
    spinning.
    """
    cv2.setNumThreads(1)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        libc.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, MOST_KEPT)


def be_steady() -> None:
    """Have Python's garbage collector leave alone what is there by now; to be called when all is set up.

    After every few thousand frames it looks through all objects for circles that nobody refers to. Nearly all
    of them are of imported modules, and as long as it looks at those, the process stands still: 39 ms where
    it was measured.
    """
    gc.collect()
    gc.freeze()
