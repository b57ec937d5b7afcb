"""`download`: what is whole is taken, what is not is continued or refused, whatever the server claims.

Not for: how an answer begins (`test_httpget.py`), zip files and several servers (`test_modelcache.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import ModelError
from kinestream_workers import download as downloading
from kinestream_workers import httpget
from kinestream_workers.download import discard, download
from kinestream_workers.httpget import DownloadError
from lying_http import (
    Answer,
    LyingServer,
    chunked,
    claims,
    file,
    gzipped,
    hangs_up,
    partial,
    redirect,
    silent,
    stalls,
    status,
    trickles,
)

BODY = np.random.default_rng(1).bytes(300_000)
OTHER = np.random.default_rng(2).bytes(250_000)
SIZE, HALF = len(BODY), len(BODY) // 2
DATE = "Mon, 11 Dec 2023 08:00:00 GMT"


@pytest.fixture
def server() -> Iterator[LyingServer]:
    with LyingServer() as started:
        yield started


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "file.part"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(downloading, "STALL_S", 0.2)
    monkeypatch.setattr(httpget, "ANSWER_S", 0.3)


def got(url: str, part: Path) -> bytes:
    download(url, part, deadline_s=time.monotonic() + 60)
    return part.read_bytes()


def refused(url: str, part: Path, *, limit_s: float = 60) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        download(url, part, deadline_s=time.monotonic() + limit_s)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        file(BODY),
        file(BODY, etag=None),
        file(BODY, etag='W/"weak"'),
        claims(None, BODY),
        claims(None, BODY, etag=None),
        chunked(BODY),
    ],
)
def test_a_whole_file(server: LyingServer, part: Path, answer: Answer) -> None:
    assert got(server.on("/file", answer), part) == BODY
    assert server.headers("Range") == [None]
    assert server.headers("Accept-Encoding") == ["identity"]
    discard(part)
    assert [*part.parent.iterdir()] == []


def test_an_empty_file(server: LyingServer, part: Path) -> None:
    assert got(server.on("/file", file(b"")), part) == b""


@pytest.mark.parametrize(("etag", "modified"), [('"1"', None), (None, DATE), ('W/"weak"', DATE)])
def test_what_was_interrupted_is_continued(
    server: LyingServer, part: Path, etag: str | None, modified: str | None
) -> None:
    half = claims(SIZE, BODY[:HALF], etag=etag, modified=modified)
    rest = partial(HALF, BODY[HALF:], etag=etag or "")
    url = server.on("/file", half, rest)
    error = refused(url, part)
    assert error.again and str(error) == f"it ended after {HALF} of {SIZE} bytes"
    assert part.read_bytes() == BODY[:HALF]
    told: list[tuple[int, int | None]] = []
    download(url, part, deadline_s=time.monotonic() + 60, progress=lambda *numbers: told.append(numbers))
    assert part.read_bytes() == BODY
    assert told[0] == (HALF, SIZE) and told[-1] == (SIZE, SIZE) and told == sorted(told)
    assert server.headers("Range") == [None, f"bytes={HALF}-"]
    assert server.headers("If-Range")[1] == (etag if etag == '"1"' else modified)


def test_what_is_whole_is_not_asked_for_again(server: LyingServer, part: Path) -> None:
    url = server.on("/file", file(BODY))
    assert got(url, part) == got(url, part) == BODY
    assert len(server.asked) == 1


@pytest.mark.parametrize("etag", [None, 'W/"weak"', "no quotes", '"a" "b"'])
def test_without_a_version_it_begins_anew(server: LyingServer, part: Path, etag: str | None) -> None:
    url = server.on("/file", claims(SIZE, BODY[:HALF], etag=etag), file(BODY, etag=etag))
    refused(url, part)
    assert got(url, part) == BODY
    assert server.headers("Range") == [None, None]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([file(OTHER, etag='"2"')], id="it is told so, and in full"),
        pytest.param([file(OTHER, etag='"1"', ranges=False)], id="the server knows no ranges"),
        pytest.param([partial(HALF, BODY[:HALF], etag='"2"'), file(OTHER)], id="the range is of another one"),
        pytest.param([partial(HALF, OTHER[HALF:]), file(OTHER)], id="the size is another one"),
        pytest.param([partial(HALF - 9, BODY[HALF - 9 :]), file(OTHER)], id="it begins elsewhere"),
        pytest.param([status(206), file(OTHER)], id="no range is named"),
        pytest.param([status(416), file(OTHER)], id="there is no such range"),
    ],
)
def test_a_part_of_another_version_is_given_up(
    server: LyingServer, part: Path, answers: list[Answer]
) -> None:
    url = server.on("/file", claims(SIZE, BODY[:HALF]), *answers)
    refused(url, part)
    assert got(url, part) == OTHER
    assert server.headers("Range")[1] == f"bytes={HALF}-"
    assert len(server.asked) == 1 + len(answers)


@pytest.mark.parametrize("note", [b"", b"no json", b"[]", b'{"url": 1}', b"null", "other", None])
def test_a_part_of_unknown_origin_is_given_up(
    server: LyingServer, part: Path, note: bytes | str | None
) -> None:
    url = server.on("/file", file(BODY))
    other = server.on("/other", claims(SIZE, OTHER[:HALF]))
    refused(other, part)
    if note is None:
        (part.parent / "file.part.json").unlink()
    elif isinstance(note, bytes):
        (part.parent / "file.part.json").write_bytes(note)
    assert got(url, part) == BODY
    assert server.headers("Range") == [None, None]


@pytest.mark.parametrize(
    ("answer", "reason", "again"),
    [
        (claims(SIZE + 1, BODY), f"it ended after {SIZE} of {SIZE + 1} bytes", True),
        (claims(SIZE, b""), f"it ended after 0 of {SIZE} bytes", True),
        (chunked(BODY, ends=False), "the connection broke in the middle", True),
        (hangs_up, "it cannot be reached (", True),
        (status(500), "it answers 500 Internal Server Error", True),
        (status(503), "it answers 503 Service Unavailable", True),
        (status(429), "it answers 429 Too Many Requests", True),
        (status(404), "it answers 404 Not Found", False),
        (status(403), "it answers 403 Forbidden", False),
        (status(407), "it answers 407 Proxy Authentication Required", False),
        (status(799), "it answers 799", True),
        (status(204), "it answers 204 No Content, which was not asked for", False),
        (status(206), "it answers 206 Partial Content, which was not asked for", False),
        (status(304), "its redirects lead nowhere", False),
        (gzipped(BODY), "it compresses its answer", False),
        (claims(2**40, BODY), "it is larger than 512 MB", False),
        (redirect("ftp://127.0.0.1/file"), "it redirects to an address that is not safe", False),
        (redirect("file:///etc/passwd"), "its redirects lead nowhere", False),
        (redirect("/file"), "its redirects lead nowhere", False),
    ],
)
def test_what_is_refused(server: LyingServer, part: Path, answer: Answer, reason: str, again: bool) -> None:
    error = refused(server.on("/file", answer), part)
    assert str(error).startswith(reason)
    assert error.again == again


def test_a_length_that_is_too_short_ends_there(server: LyingServer, part: Path) -> None:
    assert got(server.on("/file", claims(HALF, BODY)), part) == BODY[:HALF], "only its content can tell"


def test_a_body_without_end(server: LyingServer, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "MAX_BYTES", HALF)
    assert str(refused(server.on("/file", claims(None, BODY)), part)).startswith("it is larger than")
    assert part.stat().st_size <= HALF


def test_redirects_are_followed_with_the_range(server: LyingServer, part: Path) -> None:
    for number in range(httpget.MAX_REDIRECTS):
        server.on(f"/{number}", redirect(f"/{number + 1}"))
    server.on(f"/{httpget.MAX_REDIRECTS}", claims(SIZE, BODY[:HALF]), file(BODY))
    refused(server.url + "/0", part)
    assert got(server.url + "/0", part) == BODY
    assert server.headers("Range")[-1] == f"bytes={HALF}-"


@pytest.mark.parametrize("answer", [stalls(BODY[:HALF], SIZE), trickles(SIZE, 0.01)])
def test_a_download_that_stalls(server: LyingServer, part: Path, impatient: None, answer: Answer) -> None:
    error = refused(server.on("/file", answer), part)
    assert str(error) == "the download has stalled" and error.again
    assert part.stat().st_size > 0, "what came is kept"


def test_a_download_that_takes_too_long(server: LyingServer, part: Path) -> None:
    error = refused(server.on("/file", trickles(SIZE, 0.01)), part, limit_s=0.3)
    assert str(error) == "there is no more time for it" and not error.again
    assert str(refused(server.on("/silent", silent), part, limit_s=0.1)) == "it does not answer"


@pytest.mark.parametrize("where", ["no folder", "below a file", "a folder is there"])
def test_a_part_that_cannot_be_written(server: LyingServer, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.part").mkdir()
    parts = {"no folder": tmp_path / "no" / "part", "below a file": tmp_path / "file" / "part"}
    with pytest.raises(ModelError, match=r"^cannot write to /.*: \w") as caught:
        got(server.on("/file", file(BODY)), parts.get(where, tmp_path / "folder.part"))
    assert not isinstance(caught.value, DownloadError), "no other server can help"
