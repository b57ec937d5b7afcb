"""What docs/jobs.md shows runs as it is printed there, and its tables name what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from kinestream.jobs.request import FILES
from kinestream.jobs.store import LEASE_S, State
from kinestream.testcard import TestCard
from kinestream.turns import FLOOR_OF
from kinestream.video import VideoWriter
from pipeline import TIMEOUT_S

PAGE = (Path(__file__).parent.parent / "docs" / "jobs.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())  # a sentence, wherever its line is broken
BIN = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the video of the page."""
    card = TestCard.parse("testcard://?athletes=1&motion=jump&size=640x360")
    with VideoWriter(tmp_path / "jump.mp4", 640, 360) as video:
        for frame in range(24):
            video.write(card.draw(frame / 30), frame / 30)
    return tmp_path


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_the_first_commands_and_the_program(
    place: Path, folder: Path, nothing_left: Callable[[], list[int]]
) -> None:
    """The program runs where the commands have left jobs and workers running."""
    commands = str(re.findall(r"```bash\n(.*?)```", PAGE, re.S)[0])
    program = str(re.findall(r"```python\n(.*?)```", PAGE, re.S)[0])
    (folder / "program.py").write_text(program)
    running, ending = commands.split("kill $(jobs", 1)
    url = f"export KINESTREAM_REDIS_URL=unix://{place}/redis.sock\n"
    script = f"{running}\n{url}{sys.executable} program.py\nkill $(jobs{ending}"
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=1.5 * TIMEOUT_S,
    )
    assert f"{folder}/results" in done.stdout, done.stderr
    said = done.stdout[done.stdout.index(f"{folder}/results") :].splitlines()  # after those of the server
    job_id = Path(said[0]).name
    assert said[0] == str(folder / "results" / job_id)
    assert re.match(rf"{job_id} +done +24/24", said[1])
    files = re.search(r"results/\$id +# (.*)", PAGE)
    assert files and said[2:6] == files[1].split()
    assert re.match(r"(queued|running) \d+ \d+", said[6])
    assert re.match(r"12 .*/results/jump-", said[7]), "every second frame"
    assert json.loads((folder / "results" / job_id / "job.json").read_text())["ledger"]["ok"] == 24


def test_the_tables_name_what_there_is() -> None:
    for name in FILES.values():
        assert f"| `{name}` |" in PAGE
    for state in get_args(State):
        assert f"| `{state}` |" in PAGE
    assert f"another one goes on after {LEASE_S:.0f} s" in PROSE
    assert FLOOR_OF == 8 and "at least an eighth" in PROSE
