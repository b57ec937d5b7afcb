"""Real windows where Xvfb is installed, and one clear line where there is no display.

In processes of their own, since Qt ends the process when it finds no display. Not for: what is shown.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import wait_until_sync

TIMEOUT_S = 60

SHOW = """
import sys
import cv2, numpy as np
from kinestream.errors import UsageError
from kinestream_workers.window import Window
try:
    window = Window("test")
except UsageError as error:
    sys.exit(str(error))
for number in range(1000):
    if number == 3:
        window.close()
    if not window.show(np.full((90, 160, 3), number, np.uint8)):
        print("closed before picture", number)
        break
window.close()
again = Window("again")
print("shown again" if again.show(np.zeros((2000, 3000, 3), np.uint8)) else "not shown")
print(*cv2.getWindowImageRect("again")[2:])
again.close()
"""


def show(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "QT_QPA_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there always is a display")
@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "there is no display (DISPLAY is not set)"),
        ({"DISPLAY": "nowhere:7"}, "the display nowhere:7 cannot be opened"),
    ],
)
def test_without_a_display_there_is_one_line(environment: dict[str, str], why: str) -> None:
    done = show(**environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"no window can be shown here: {why}; without one, use show=False or webcam_results()\n"
    )


def test_a_window_that_is_closed(tmp_path: Path) -> None:
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("there is no Xvfb on PATH: apt install xvfb")
    number = tmp_path / "number"
    with number.open("w") as chosen:
        display = subprocess.Popen(
            [server, "-displayfd", str(chosen.fileno()), "-screen", "0", "1600x1200x24", "-nolisten", "tcp"],
            pass_fds=[chosen.fileno()],
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until_sync(lambda: number.read_text().endswith("\n"), "Xvfb to name its display")
        done = show(DISPLAY=f":{number.read_text().strip()}")
    finally:
        display.terminate()
        display.wait(20)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "closed before picture 3\nshown again\n1280 853\n"
    assert done.stderr == ""
