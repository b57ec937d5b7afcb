"""A file has its name once it is whole, and two processes never write one part."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinestream.errors import UsageError
from kinestream.partfile import open_part, part_of


def test_what_an_earlier_process_left_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    part_of(path).write_text("left by somebody who was killed\n")
    with open_part(path) as lines:
        lines.write("new\n")
        assert part_of(path).read_text() == "new\n", "each line can be read at once"
        part_of(path).replace(path)
    assert path.read_text() == "new\n"


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    with open_part(path) as lines:
        lines.write("mine\n")
        with pytest.raises(UsageError, match="another command is writing"):
            open_part(path)
        assert part_of(path).read_text() == "mine\n"
    open_part(path).close()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write to .*missing: No such file"):
        open_part(tmp_path / "missing" / "poses.jsonl")
