"""Where videos are, and where results go: files of one job, whole or not there.

Results are made in a folder of whoever makes them, `<outputs>/.work/<job>/<attempt>-<claim>`, and get their
place `<outputs>/<job>` by one rename, just before the job is told to be done; they leave it by one, too. So a
reader never sees half of them, and of two who believe that a job is theirs, neither touches the other's
files. Not for: what is in the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kinestream.errors import KinestreamError, UsageError
from kinestream.keys import check_camera

SUMMARY = "job.json"
"""In every folder of results: whose they are, what became of the frames, and when they expire."""

_WORK = ".work"

_ABANDONED_S = 24 * 3600
"""Work that nobody has touched for so long will not be gone on with: results are kept for minutes."""


@dataclass(frozen=True)
class Folders:
    """`videos` holds all that may be read, `outputs` gets the results; both are shared by all who serve."""

    videos: Path
    outputs: Path

    def prepare(self) -> None:
        """Make what is missing; raises `UsageError` if results cannot be written."""
        if not self.videos.is_dir():
            raise UsageError(f"the folder of videos {self.videos} is not there")
        try:
            (self.outputs / _WORK).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {self.outputs}: {error.strerror}") from error

    def video(self, name: str) -> Path:
        """The file that a job names; raises `UsageError` if it is not there, or not within `videos`."""
        root = self.videos.resolve()
        try:
            path = (root / name).resolve()
            is_there = path.is_file()
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror}") from error
        if not path.is_relative_to(root):
            raise UsageError(f"{name} is not in the folder of videos ({self.videos})")
        if not is_there:
            raise UsageError(f"there is no video file {name}" + f" in {self.videos}" * (root != Path("/")))
        return path

    def work(self, job_id: str, attempt: int, claim: int) -> Path:
        """The folder in which the `claim`th who takes up this attempt makes its results.

        Raises `UsageError` for what is no job's name: whoever reaches Redis may have written it.
        """
        return self.outputs / _WORK / check_camera(job_id) / f"{attempt}-{claim}"

    def results(self, job_id: str) -> Path:
        """The folder of a job's results; raises `UsageError` as above."""
        return self.outputs / check_camera(job_id)

    def publish(self, work: Path, job_id: str) -> Path:
        """Give finished results their place, in that of earlier ones if there are, and forget the work."""
        place = self.results(job_id)
        try:
            for path in work.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            if place.is_dir():  # a file in the way is somebody's
                self._remove(place)
            work.replace(place)
        except OSError as error:
            raise KinestreamError(f"cannot write {place}: {error.strerror}") from error
        self.forget_work(work)
        return place

    def forget_work(self, work: Path) -> None:
        """Remove what was begun of a job's results by whoever made `work`, and by those before."""
        mine = _order(work)
        for other in [*work.parent.glob("*-*")]:
            if _order(other) <= mine:
                shutil.rmtree(other, ignore_errors=True)
        with contextlib.suppress(OSError):  # somebody else works there
            work.parent.rmdir()

    def _remove(self, place: Path) -> None:
        """Remove results, or nothing of them: by a rename to where nobody reads."""
        grave = self.outputs / _WORK / place.name / f"0-{secrets.token_hex(4)}"
        grave.parent.mkdir(parents=True, exist_ok=True)
        place.replace(grave)
        shutil.rmtree(grave)
        with contextlib.suppress(OSError):
            grave.parent.rmdir()

    def clear(self, in_work: Collection[str] = ()) -> list[str]:
        """Remove results that have expired, and work that was abandoned; return the names of the jobs whose
        results these were.

        Jobs `in_work` may come to use what nobody has touched for long: perhaps no worker ran.
        """
        cleared = []
        for summary in self.outputs.glob(f"*/{SUMMARY}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                facts = json.loads(summary.read_text())
                # A folder that was renamed is somebody's, and stays.
                if facts["job"] == summary.parent.name and facts["expires_ms"] < 1000 * time.time():
                    self._remove(summary.parent)
                    cleared.append(summary.parent.name)
        for work in (self.outputs / _WORK).glob("*"):
            if work.name in in_work:
                continue
            with contextlib.suppress(OSError):
                newest = max((path.stat().st_mtime for path in work.rglob("*")), default=work.stat().st_mtime)
                if time.time() - newest > _ABANDONED_S:
                    shutil.rmtree(work)
        return cleared


def _order(work: Path) -> tuple[int, ...]:
    """What tells the works of a job apart, later ones being larger; those that are none come last."""
    attempt, _, claim = work.name.partition("-")
    return (int(attempt), int(claim)) if attempt.isdecimal() and claim.isdecimal() else (sys.maxsize,)


def version_of(video: Path) -> str:
    """What tells this state of a file from others of the same name: its size, and when it was changed."""
    facts = video.stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}"
