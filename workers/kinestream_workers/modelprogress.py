"""How a download is shown: a bar on a terminal, else one line at its beginning. Not for: downloading."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from kinestream_workers.download import Progress

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress_shown(name: str, url: str) -> Iterator[Progress]:
    """Give a function to call with the bytes that are there, and their number in the end."""
    host = urlsplit(url).hostname
    if not sys.stderr.isatty():
        yield _Line(name, host or url)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from kinestream.logs import log_above

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars, log_above():
        bar = bars.add_task(f"{name} from {host}", total=None)
        yield lambda done, size: bars.update(bar, completed=done, total=size)


class _Line:
    """Says once how much there is to come, since where no terminal is a bar would be many lines."""

    def __init__(self, name: str, host: str) -> None:
        self._text: str | None = f"downloading {name} from {host}"

    def __call__(self, done: int, size: int | None) -> None:
        if self._text is None:
            return
        much = f", {size / 1e6:.1f} MB" if size else ""
        _log.info("%s%s%s", self._text, much, f", of which {done / 1e6:.1f} MB are here" if done else "")
        self._text = None
