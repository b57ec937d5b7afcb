"""Files of jobs: only videos of the folder, results whole or not there, nothing of others' is touched."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from kinestream.errors import KinestreamError, UsageError
from kinestream.jobs.folders import Folders, version_of


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path / "videos", tmp_path / "outputs")
    made.videos.mkdir()
    made.prepare()
    return made


def write_work(folders: Folders, job_id: str, attempt: int, claim: int, *, expires_s: float = 60.0) -> Path:
    """A job's work, all but done; its two files say which one it is."""
    work = folders.work(job_id, attempt, claim)
    work.mkdir(parents=True)
    (work / "poses.jsonl").write_text(f"{attempt}-{claim}\n")
    expires_ms = 1000 * (time.time() + expires_s)
    summary = {"job": job_id, "claim": f"{attempt}-{claim}", "expires_ms": expires_ms}
    (work / "job.json").write_text(json.dumps(summary))
    return work


def test_only_files_of_the_folder_are_videos(folders: Folders, tmp_path: Path) -> None:
    (folders.videos / "sub").mkdir()
    inside = folders.videos / "sub" / "a.mp4"
    inside.write_bytes(b"x")
    outside = tmp_path / "secret"
    outside.write_bytes(b"x")
    (folders.videos / "out.mp4").symlink_to(outside)
    (folders.videos / "in.mp4").symlink_to(inside)
    (folders.videos / "loop.mp4").symlink_to(folders.videos / "loop.mp4")
    for name in ("sub/a.mp4", "in.mp4", str(inside), "sub/../sub/a.mp4"):
        assert folders.video(name) == inside
    for name in ("../secret", str(outside), "out.mp4", "sub/../../secret"):
        with pytest.raises(UsageError, match="is not in the folder of videos"):
            folders.video(name)
    for name in ("no.mp4", "sub", ""):
        with pytest.raises(UsageError, match="there is no video file"):
            folders.video(name)
    for name in ("x" * 300, "sub/a.mp4/b"):
        with pytest.raises(UsageError, match=r"cannot read|there is no video file"):
            folders.video(name)
    with pytest.raises((UsageError, RuntimeError)):
        folders.video("loop.mp4")


@pytest.mark.parametrize("name", ["..", "../precious", "/etc", ".work", "a/b", ""])
def test_no_name_leads_out_of_the_folder_of_results(folders: Folders, name: str) -> None:
    for place in (lambda: folders.work(name, 1, 1), lambda: folders.results(name)):
        with pytest.raises(UsageError, match="a camera name"):
            place()


def test_a_folder_that_is_missing_or_read_only_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the folder of videos .* is not there"):
        Folders(tmp_path / "no", tmp_path / "outputs").prepare()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"cannot write to .*file"):
        Folders(tmp_path, tmp_path / "file").prepare()


def test_a_reader_never_sees_half_of_the_results(folders: Folders) -> None:
    """While they are published for the first time, replaced, and removed since they have expired."""
    place, seen, stop = folders.results("a-1"), set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                before = place.stat()
                names = " ".join(sorted(path.name for path in place.iterdir()))
                after = place.stat()
            except FileNotFoundError:
                seen.add("nothing")
                continue
            if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
                seen.add(names)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for claim in range(1, 31):
            work = write_work(folders, "a-1", 1, claim, expires_s=-1.0 if claim % 3 == 0 else 60.0)
            assert folders.publish(work, "a-1") == place
            assert (place / "poses.jsonl").read_text() == f"1-{claim}\n"
            assert folders.clear() == (["a-1"] if claim % 3 == 0 else [])
    finally:
        stop.set()
        reader.join()
    assert seen == {"nothing", "job.json poses.jsonl"}


def test_who_publishes_or_gives_up_leaves_the_work_of_those_after_it(folders: Folders) -> None:
    for attempt, claim in ((1, 1), (1, 2), (1, 3), (2, 1)):
        write_work(folders, "a-1", attempt, claim)
    folders.publish(folders.work("a-1", 1, 2), "a-1")
    left = sorted(path.name for path in (folders.outputs / ".work" / "a-1").iterdir())
    assert left == ["1-3", "2-1"], "one that was frozen comes to its end while another works"
    folders.forget_work(folders.work("a-1", 1, 3))
    assert (folders.work("a-1", 2, 1) / "poses.jsonl").read_text() == "2-1\n"
    folders.forget_work(folders.work("a-1", 2, 1))
    assert [*(folders.outputs / ".work").iterdir()] == []


def test_what_cannot_be_published_is_one_line(folders: Folders) -> None:
    work = write_work(folders, "a-1", 1, 1)
    folders.results("a-1").write_text("somebody's file")
    with pytest.raises(KinestreamError, match=r"cannot write .*a-1: "):
        folders.publish(work, "a-1")
    assert folders.results("a-1").read_text() == "somebody's file"
    with pytest.raises(KinestreamError, match="cannot write"):
        Folders(folders.videos, folders.outputs / "gone").publish(work, "a-2")


def test_expiry_removes_only_results_that_are_ours_and_over(folders: Folders) -> None:
    for job_id, expires_s in (("old-1", -1.0), ("new-1", 60.0), ("kept-1", -1.0)):
        folders.publish(write_work(folders, job_id, 1, 1, expires_s=expires_s), job_id)
    folders.results("kept-1").rename(folders.outputs / "renamed")
    for name, text in {"theirs": '{"mine": 1}', "broken": "{", "list": "[]", "odd": '{"job": "odd"}'}.items():
        (folders.outputs / name).mkdir()
        (folders.outputs / name / "job.json").write_text(text)
    (folders.outputs / "empty").mkdir()
    assert folders.clear() == ["old-1"]
    left = {path.name for path in folders.outputs.iterdir()}
    assert left == {".work", "new-1", "renamed", "theirs", "broken", "list", "odd", "empty"}


def test_work_that_was_abandoned_is_removed_unless_its_job_goes_on(folders: Folders) -> None:
    days_ago = time.time() - 2 * 24 * 3600
    for job_id in ("abandoned-1", "waits-1", "fresh-1"):
        work = write_work(folders, job_id, 1, 1)
        for path in [*work.iterdir(), work, work.parent] if job_id != "fresh-1" else []:
            os.utime(path, (days_ago, days_ago))
    assert folders.clear(in_work={"waits-1"}) == []
    assert {path.name for path in (folders.outputs / ".work").iterdir()} == {"waits-1", "fresh-1"}


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"12")
    before = version_of(video)
    os.utime(video, ns=(1, 1))
    touched = version_of(video)
    video.write_bytes(b"123")
    os.utime(video, ns=(1, 1))
    assert len({before, touched, version_of(video)}) == 3
