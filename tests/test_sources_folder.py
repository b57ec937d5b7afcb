"""A watched folder: each video once it has stopped growing, oldest first, and none that is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kinestream.errors import SourceError, UsageError
from kinestream_ingest.sources import open_source
from kinestream_ingest.sources.folder import Folder


def _video(path: Path, size: int = 10, age: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (1000 - age, 1000 - age))
    return path


def _names(folder: Folder, now_s: float) -> list[str]:
    """All that would be read now, in order."""
    done: dict[str, str] = {}
    while video := folder.next(done, now_s):
        done[folder.name_of(video.path)] = video.mark
    return [*done]


def test_oldest_first_and_none_before_it_stopped_growing(tmp_path: Path) -> None:
    _video(tmp_path / "new.mp4"), _video(tmp_path / "old.MOV", age=50)
    folder = Folder(f"watch://{tmp_path}?settled_s=5")
    assert _names(folder, 100) == []
    assert _names(folder, 104.9) == []
    assert _names(folder, 105) == ["old.MOV", "new.mp4"]


def test_one_that_still_grows_waits(tmp_path: Path) -> None:
    video = _video(tmp_path / "a.mp4")
    folder = Folder(f"watch://{tmp_path}?settled_s=5")
    _names(folder, 100)
    _video(video, size=20)
    assert _names(folder, 106) == []
    assert _names(folder, 111) == ["a.mp4"]


def test_what_is_done_is_not_read_again_unless_it_is_another_one(tmp_path: Path) -> None:
    video = _video(tmp_path / "a.mp4")
    folder = Folder(f"watch://{tmp_path}?settled_s=0")
    found = folder.next({}, 0)
    assert found is not None
    done = {"a.mp4": found.mark}
    assert folder.next(done, 1) is None
    assert Folder(f"watch://{tmp_path}?settled_s=0").next(done, 0) is None  # after a restart
    _video(video, size=11)
    assert folder.next(done, 2) is not None


def test_what_is_no_video_is_passed_over(tmp_path: Path) -> None:
    for name in (".hidden.mp4", "notes.txt", "a.mp4.part"):
        _video(tmp_path / name)
    _video(tmp_path / "empty.mp4", size=0)
    _video(tmp_path / "deeper" / "b.mp4")
    assert _names(Folder(f"watch://{tmp_path}?settled_s=0"), 0) == []
    assert _names(Folder(f"watch://{tmp_path}?settled_s=0&pattern=**/*.mp4"), 0) == ["deeper/b.mp4"]


def test_names_with_signs(tmp_path: Path) -> None:
    folder = tmp_path / "my films 100%"
    _video(folder / 'Jörg\'s "jump" #1?.mp4')
    assert len(_names(Folder(f"watch://{tmp_path}/my%20films%20100%25?settled_s=0"), 0)) == 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no folder"):
        Folder(f"watch://{tmp_path}/none").next({}, 0)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("watch://", "a watched folder is a path"),
        ("watch:///films?every=2", "unknown option every=2 of a watched folder"),
        ("watch:///films?settled_s=-1", "unknown option settled_s=-1"),
        ("watch:///films?settled_s=nan", "unknown option settled_s=nan"),
        ("watch:///films?pattern=../*", "unknown option pattern=../*"),
    ],
)
def test_wrong_urls(url: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        Folder(url)
    assert error in str(caught.value)


def test_ingest_says_who_serves_it() -> None:
    with pytest.raises(SourceError, match="a watched folder is served by a producer: kinestream camera add"):
        open_source("watch:///films")
