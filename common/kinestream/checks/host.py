"""Checks of this host: Python, disk, open files. Not for: models and devices (see `kinestream_workers`)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from kinestream.doctor import Asked, Finding
from kinestream.runtimedir import runtime_dir

_FREE_BYTES = 2**30
"""A model has up to 200 MB, and an hour of annotated video about as much."""

_FILES = 1024
"""A server of a hundred cameras and consumers opens a few hundred; many systems begin at 256."""


def check_host(asked: Asked) -> Iterator[Finding]:
    """Find out about Python, free disk and the limit of open files."""
    yield Finding("ok", "python", f"{sys.version.split()[0]} on {sys.platform}")
    for what, folder in (("this folder", Path.cwd()), ("the server's folder", runtime_dir())):
        yield _disk(what, folder)
    yield from _open_files()


def _disk(what: str, folder: Path) -> Finding:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    says = f"{free / 2**30:.1f} GiB free in {what}, {folder}"
    if free < _FREE_BYTES:
        return Finding("warning", "disk", says, "make room: outputs and models are written there")
    return Finding("ok", "disk", says)


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < _FILES:
        yield Finding(
            "warning", "open files", f"at most {limit} in a process", f"ulimit -n {_FILES}, or more"
        )
    else:
        yield Finding("ok", "open files", f"at most {limit} in a process" if limit >= 0 else "no limit")
