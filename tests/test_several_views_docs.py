"""The program of docs/several-views.md, run as it stands there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from kinestream.embedded import find_redis_url
from pipeline import TESTCARD, Command, redis_and_workers

PAGE = Path(__file__).parent.parent / "docs" / "several-views.md"
CARD = "testcard://?athletes=1&size=320x180&fps=10&loop=1"


def test_the_program_prints_bundles(place: Path, tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    # Cameras of 10 frames a second that were started by hand are up to 50 ms apart.
    program = found[1].replace("tolerance_ms=16", "tolerance_ms=60")
    with redis_and_workers(tmp_path, workers=1, options=TESTCARD), contextlib.ExitStack() as stack:
        for camera in ("left", "right"):
            stack.enter_context(Command(tmp_path / f"{camera}.txt", "ingest", CARD, "--camera", camera))
        environment = {**os.environ, "KINESTREAM_REDIS_URL": find_redis_url(None), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
        ) as reading:
            assert reading.stdout is not None
            whole = re.compile(r"\d{16} \d+\.\d ms \['left', 'right'\] \{\}\n")
            try:
                assert any(whole.fullmatch(line) for line in iter(reading.stdout.readline, ""))
            finally:
                reading.kill()
