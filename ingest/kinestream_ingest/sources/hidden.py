"""A source that was opened with secrets, which shows none of them. Not for: filling them in."""

from __future__ import annotations

from collections.abc import Iterator

from kinestream.errors import SourceError
from kinestream.placeholders import Filled
from kinestream_ingest.sources.source import Source, SourceFrame, camera_name


class Hidden:
    """The source that it is given; placeholders stand in its name, its description and its errors."""

    def __init__(self, source: Source, filled: Filled) -> None:
        self._source = source
        self._filled = filled
        self.name = camera_name(filled.hide(source.name))
        self.description = filled.hide(source.description)
        self.live, self.returns = source.live, source.returns
        self.width, self.height = source.width, source.height
        self.frames = source.frames

    @property
    def clock(self) -> str:
        return self._source.clock

    @property
    def fps(self) -> float | None:
        return self._source.fps

    def repeats(self) -> Iterator[SourceFrame]:
        """What its source repeats."""
        return self._source.repeats()

    def __iter__(self) -> Iterator[SourceFrame]:
        try:
            yield from self._source
        except SourceError as error:
            raise SourceError(self._filled.hide(str(error))) from None

    def close(self) -> None:
        """Close its source."""
        self._source.close()
