"""`kinestream_workers.thrift`: memory that was freed is used again, without asking the system for it."""

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
