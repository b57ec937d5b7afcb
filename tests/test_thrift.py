"""`kinestream_workers.thrift`: memory that was freed is used again, without asking the system for it; and the
garbage collector has little to look at.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import cv2
import numpy as np
from kinestream_workers.thrift import be_thrifty
if sys.argv[1] == "thrifty":
    be_thrifty()
    assert cv2.getNumThreads() == 1
for turn in range(60):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pictures = [np.ones((480, 640, 3), np.uint8) for _ in range(2)]
    del pictures
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 50)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has these settings")
def test_a_picture_faults_in_no_pages() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("thrifty") < 10
    assert faults("as it is") > 100, "the test sees what it is about"


STEADY = """
import gc
import kinestream_workers.worker
from kinestream_workers.thrift import be_steady
before = len(gc.get_objects())
be_steady()
print(before, len(gc.get_objects()))
"""


def test_the_garbage_collector_leaves_alone_what_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", STEADY], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 20
