"""One file over HTTP into a part of it on the disk: bounded in time and size, resumed where it ended.

What an earlier attempt left is continued only if the server can show that it is still the same version (an
ETag or a date, sent as `If-Range`); else it begins anew. Proxies are taken from the environment, as urllib
does. Not for: which of several servers to ask, or what is in the file (see `modelcache.py`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO

from kinestream.errors import ModelError
from kinestream_workers.httpget import DownloadError, get, reason_of, status_text

STALL_S = 20.0
STALL_BYTES = 20_000
"""A download that brings fewer bytes than this in so many seconds has stalled; a modem would be faster."""

MAX_BYTES = 512 * 2**20
"""The largest of RTMO's files has a third of it. Whatever is larger is something else."""

_CHUNK = 256 * 1024

Progress = Callable[[int, int | None], object]
"""Called with the bytes that are there and their number in the end, None if the server does not say."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What the bytes in a part are the beginning of."""

    url: str
    validator: str
    size: int | None


def download(
    url: str, part: Path, *, deadline_s: float, progress: Progress = lambda done, size: None
) -> None:
    """Write what is at `url` to the file `part`, or go on with what is in it.

    `deadline_s` is a time of `time.monotonic`. Raises `DownloadError` if the server does not give it (`part`
    then holds what came, for the next attempt), and `ModelError` if it cannot be written. For one process at
    a time.
    """
    left = _left(url, part)
    have = part.stat().st_size if left else 0
    if left and left.size == have:
        return
    response = get(url, deadline_s, STALL_S, have, left.validator if left else "")
    if left and not _continues(response, left, have):
        if response.status != HTTPStatus.OK:
            response.close()
            response = get(url, deadline_s, STALL_S)
        left = None
    with response:
        if not left:
            if response.status != HTTPStatus.OK:
                raise DownloadError(f"it answers {status_text(response.status)}, which was not asked for")
            have, left = 0, _version(url, response)
            if left.size is not None and left.size > MAX_BYTES:
                raise DownloadError(f"it is larger than {MAX_BYTES // 2**20} MB")
        _check_encoding(response)
        _receive(response, part, have, left, deadline_s, progress)


def discard(part: Path) -> None:
    """Remove a part, and what is known of it."""
    _note_of(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _left(url: str, part: Path) -> _Version | None:
    """What an earlier attempt has left of this very file, if it can be continued."""
    try:
        version = _Version(**json.loads(_note_of(part).read_bytes()))
        have = part.stat().st_size
        usable = version.url == url and version.validator and 0 < have <= (version.size or MAX_BYTES)
    except (OSError, ValueError, TypeError):
        return None
    return version if usable else None


def _version(url: str, response: http.client.HTTPResponse) -> _Version:
    """Of a complete answer. A weak ETag promises no equal bytes, so it does not count."""
    tag = response.headers.get("ETag", "")
    strong = tag if re.fullmatch(r'"[\x21\x23-\x7e]*"', tag) else ""
    date = response.headers.get("Last-Modified", "")
    return _Version(url, strong or (date if re.fullmatch(r"[\x20-\x7e]*", date) else ""), response.length)


def _continues(response: http.client.HTTPResponse, left: _Version, have: int) -> bool:
    """Whether an answer is the rest of what is there: some servers ignore `If-Range`, or send other bytes."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status != HTTPStatus.PARTIAL_CONTENT or not found or int(found[1]) != have:
        return False
    if left.size is not None and found[3] != str(left.size):
        return False
    tag = response.headers.get("ETag")
    return not (tag and left.validator.startswith('"') and tag != left.validator)


def _check_encoding(response: http.client.HTTPResponse) -> None:
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise DownloadError("it compresses its answer, although it was asked not to")


def _receive(
    response: http.client.HTTPResponse,
    part: Path,
    have: int,
    version: _Version,
    deadline_s: float,
    progress: Progress,
) -> None:
    """Append the body to the part, which has `have` bytes; the note is there before the first of them."""
    with writing_to(part.parent):
        if not have:
            discard(part)
            _note_of(part).write_text(json.dumps(asdict(version)))
        file = part.open("ab", buffering=0)
    with file:
        progress(have, version.size)
        since_s, since = time.monotonic(), have
        while chunk := _read(response, version.size):
            have += len(chunk)
            if have > MAX_BYTES:
                raise DownloadError(f"it is larger than {MAX_BYTES // 2**20} MB")
            with writing_to(part.parent):
                write_all(file, chunk)
            progress(have, version.size)
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise DownloadError("there is no more time for it")
            if now_s - since_s > STALL_S:
                if have - since < STALL_BYTES:
                    raise DownloadError(_STALLED, again=True)
                since_s, since = now_s, have
    if version.size is not None and have != version.size:
        raise DownloadError(f"it ended after {have} of {version.size} bytes", again=True)


_STALLED = "the download has stalled"


def _read(response: http.client.HTTPResponse, size: int | None) -> bytes:
    """The next bytes of a body, none at its end, or where it breaks off if its size tells that it does."""
    try:
        return response.read1(_CHUNK)
    except http.client.IncompleteRead as error:  # of a body in chunks; newer Pythons raise it for others too
        if size is None:
            raise DownloadError("the connection broke in the middle", again=True) from error
        return b""
    except TimeoutError:
        raise DownloadError(_STALLED, again=True) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"the connection broke ({reason_of(error)})", again=True) from error


def write_all(file: IO[bytes], chunk: bytes) -> None:
    """Write a chunk to an unbuffered file, which may take less of it at a time."""
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a `ModelError` of one line."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"cannot write to {folder}: {error.strerror or error}") from error
