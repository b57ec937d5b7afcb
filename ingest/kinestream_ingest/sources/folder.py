"""A watched folder as a source: each video that has stopped growing is read once, oldest first, for ever.

    watch:///films?pattern=*.mp4&settled_s=5

Each video is a run of its own, whose source in the ledger is the video's name. Which ones are done is kept by
whoever reads them (see `kinestream_ingest.watched`); here is only what to read next.

Not for: reading a video (see `video_file.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from kinestream.errors import SourceError, UsageError

SCHEME = "watch"

SETTLED_S = 5.0
"""A video whose size and time have not changed for so long has stopped growing: copies over a slow network
pause for a second or two."""

_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".ts", ".mpg", ".mpeg", ".3gp")
)


@dataclass(frozen=True, slots=True)
class Video:
    """One video as it was found; `mark` differs for another one of the same name."""

    path: Path
    mark: str


class Folder:
    """The videos in a folder that `url` names; `pattern` is matched within it, `**` included.

    Raises `UsageError` for a URL that cannot be used.
    """

    def __init__(self, url: str) -> None:
        place, _, query = url.partition("://")[2].partition("?")
        self.path = Path(unquote(place))
        if not place:
            raise SourceError("a watched folder is a path, as in watch:///films")
        self._pattern, self._settled_s = "", SETTLED_S
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name == "pattern" and value and not value.startswith("/") and ".." not in value:
                self._pattern = value
            elif name == "settled_s" and _is_wait(value):
                self._settled_s = float(value)
            else:
                known = "pattern=*.mp4 and settled_s=5"
                raise UsageError(f"unknown option {name}={value} of a watched folder; there are {known}")
        self._seen: dict[Path, tuple[str, float]] = {}

    def next(self, done: Mapping[str, str], now_s: float) -> Video | None:
        """The oldest video that has stopped growing and is not among those done (name -> mark).

        Call it again and again, with a clock in seconds that only grows: that a video stopped growing is seen
        from look to look. Raises `SourceError` if the folder cannot be read.
        """
        settled: list[tuple[int, Video]] = []
        seen: dict[Path, tuple[str, float]] = {}
        for path in self._videos():
            try:
                facts = path.stat()
            except OSError:  # it has gone
                continue
            mark = f"{facts.st_size}-{facts.st_mtime_ns}"
            before = self._seen.get(path)
            seen[path] = before if before is not None and before[0] == mark else (mark, now_s)
            is_done = done.get(self.name_of(path)) == mark
            if facts.st_size and not is_done and now_s - seen[path][1] >= self._settled_s:
                settled.append((facts.st_mtime_ns, Video(path, mark)))
        self._seen = seen
        return min(settled, key=lambda pair: (pair[0], pair[1].path))[1] if settled else None

    def name_of(self, path: Path) -> str:
        """What a video is called among those that are done: its path within the folder."""
        return str(path.relative_to(self.path))

    def _videos(self) -> list[Path]:
        if not self.path.is_dir():
            raise SourceError(f"there is no folder {self.path}")
        try:
            found = self.path.glob(self._pattern) if self._pattern else self.path.iterdir()
            return [path for path in found if self._is_video(path)]
        except OSError as error:
            raise SourceError(f"the folder {self.path} cannot be read: {error.strerror}") from None

    def _is_video(self, path: Path) -> bool:
        is_named_so = bool(self._pattern) or path.suffix.lower() in _SUFFIXES
        return is_named_so and not path.name.startswith(".") and path.is_file()


def _is_wait(value: str) -> bool:
    try:
        return 0 <= float(value) < math.inf
    except ValueError:
        return False
