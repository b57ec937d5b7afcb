"""The cache of models: each comes once, whole and as it should be, or one line says why not and what to do.

Not for: HTTP and zip files in themselves (see `test_download.py`, `test_modelzip.py`).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import ModelError
from kinestream_workers import download as downloading
from kinestream_workers import httpget, modelcache, zoo
from kinestream_workers.modelcache import cache_folder, cached, fetch
from kinestream_workers.zoo import ZooModel
from lying_http import Answer, LyingServer, claims, file, silent, stalls, status
from modelzips import model_zip, zipped
from waiting import wait_until_sync

NETWORK = np.random.default_rng(5).bytes(200_000)
SHA256 = hashlib.sha256(NETWORK).hexdigest()
ZIP = model_zip(NETWORK)
HALF = len(ZIP) // 2
NAME = "rtmo-m_640x640-0123abcd_20231211"


@pytest.fixture
def servers() -> Iterator[list[LyingServer]]:
    """Two: the one that is asked first, and its mirror."""
    with LyingServer() as primary, LyingServer() as mirror:
        yield [primary, mirror]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, not made yet, into which may be downloaded, without long waits."""
    monkeypatch.setenv("KINESTREAM_MODELS", str(tmp_path / "cache" / "models"))
    monkeypatch.delenv("KINESTREAM_OFFLINE")
    monkeypatch.setattr(modelcache, "PAUSE_S", 0.01)
    return tmp_path / "cache" / "models"


def model(servers: list[LyingServer], *answers: list[Answer]) -> ZooModel:
    """A model on these servers, each of which gives its answers, the last one ever again."""
    urls = [server.on(f"/folder/{NAME}.zip", *given) for server, given in zip(servers, answers, strict=True)]
    return ZooModel("rtmo-m", "balanced", tuple(urls))


def wait_for_half(folder: Path) -> None:
    """Wait until the first half of the zip file is there."""
    part = folder / f"{NAME}.zip.part"
    wait_until_sync(lambda: part.exists() and part.stat().st_size == HALF, "half a file")


def check_clean(folder: Path, *names: str) -> None:
    """These files are there, and nothing else but the empty lock."""
    assert {path.name for path in folder.iterdir()} == {".rtmo-m.lock", *names}


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param(([file(ZIP)], [status(404)]), (1, 0), id="at once"),
        pytest.param(([status(404)], [file(ZIP)]), (1, 1), id="not there: the mirror"),
        pytest.param(([claims(len(ZIP), ZIP[:HALF]), file(ZIP)], []), (2, 0), id="broken once: continued"),
        pytest.param(([status(503), file(ZIP)], []), (2, 0), id="busy once"),
        pytest.param(([status(503)], [file(ZIP)]), (3, 1), id="always busy: the mirror"),
        pytest.param(([claims(HALF, ZIP)], [file(ZIP)]), (1, 1), id="damaged: the mirror"),
        pytest.param(([file(b"<html>Please log in")], [file(ZIP)]), (1, 1), id="a page: the mirror"),
        pytest.param(([file(model_zip(b"x"))], [file(ZIP)]), (1, 1), id="another network: the mirror"),
        pytest.param(([claims(len(ZIP), ZIP[:HALF])], [file(ZIP, etag='"1"')]), (3, 1), id="half a file"),
    ],
)
def test_a_model_comes(
    folder: Path, servers: list[LyingServer], answers: list[list[Answer]], asked: tuple[int, int]
) -> None:
    wanted = model(servers, *answers)
    path = fetch(wanted, patience_s=60, sha256=SHA256)
    assert path == cached(wanted) == folder / f"{NAME}.onnx"
    assert path.read_bytes() == NETWORK
    check_clean(folder, path.name)
    assert fetch(wanted, patience_s=60) == path
    assert [len(server.asked) for server in servers] == [*asked], "it is not downloaded twice"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), "it answers 404 Not Found"),
        (status(500), "it answers 500 Internal Server Error"),
        (file(b"<html>Please log in"), "it is a web page, not a zip file"),
        (file(ZIP[:-500]), "its zip file is damaged"),
        (file(zipped({})), "its zip file holds no end2end.onnx, wanted one"),
        (claims(len(ZIP), ZIP[:HALF]), f"it ended after {HALF} of {len(ZIP)} bytes"),
    ],
)
def test_a_model_does_not_come(folder: Path, servers: list[LyingServer], answer: Answer, reason: str) -> None:
    wanted = model(servers, [answer], [answer])
    with pytest.raises(ModelError) as caught:
        fetch(wanted, patience_s=60)
    said = str(caught.value)
    assert said.startswith(f"cannot download rtmo-m (127.0.0.1: {reason}; 127.0.0.1: {reason}); give a file")
    for way_out in (
        "--model FILE",
        f"put {NAME}.onnx into {folder}",
        "KINESTREAM_MODELS",
        "--model testcard",
    ):
        assert way_out in said
    assert "\n" not in said
    assert cached(wanted) is None


def test_another_sha256_is_refused_with_the_way_to_overrule_it(
    folder: Path, servers: list[LyingServer]
) -> None:
    wanted = model(servers, [file(ZIP)], [file(ZIP)])
    other = "0" * 64
    with pytest.raises(ModelError) as caught:
        fetch(wanted, patience_s=60, sha256=other)
    said = str(caught.value)
    assert f"SHA-256 {SHA256}, wanted {other}" in said
    assert f"kinestream models pull rtmo-m --sha256 {SHA256}" in said
    check_clean(folder)
    assert fetch(wanted, patience_s=60, sha256=SHA256).read_bytes() == NETWORK


def test_a_known_sha256_is_wanted_unless_another_one_is_given(
    folder: Path, servers: list[LyingServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(zoo.SHA256, "rtmo-m", "1" * 64)
    wanted = model(servers, [file(ZIP)], [file(ZIP)])
    with pytest.raises(ModelError, match=f"wanted {'1' * 64}"):
        fetch(wanted, patience_s=60)
    assert fetch(wanted, patience_s=60, sha256=SHA256).exists()


def test_what_is_there_is_checked_if_a_sha256_is_given(folder: Path, servers: list[LyingServer]) -> None:
    wanted = model(servers, [status(404)], [status(404)])
    folder.mkdir(parents=True)
    (folder / f"{NAME}.onnx").write_bytes(b"by hand")
    assert fetch(wanted, patience_s=60).read_bytes() == b"by hand"
    with pytest.raises(ModelError, match=f"{NAME}.onnx has SHA-256 .*, wanted {SHA256}"):
        fetch(wanted, patience_s=60, sha256=SHA256)
    assert servers[0].asked == []


def test_offline_asks_nobody(
    folder: Path, servers: list[LyingServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = model(servers, [file(ZIP)], [file(ZIP)])
    monkeypatch.setenv("KINESTREAM_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"^rtmo-m is not here and KINESTREAM_OFFLINE .* --model testcard$"):
        fetch(wanted, patience_s=60)
    assert servers[0].asked == [] and not folder.exists()
    monkeypatch.setenv("KINESTREAM_OFFLINE", "0")
    assert fetch(wanted, patience_s=60).exists()


def test_a_next_process_goes_on_where_one_was_killed(folder: Path, servers: list[LyingServer]) -> None:
    wanted = model(servers, [stalls(ZIP[:HALF], len(ZIP)), file(ZIP)], [])
    process = multiprocessing.get_context("spawn").Process(
        target=fetch, args=(wanted,), kwargs={"patience_s": 60}
    )
    process.start()
    try:
        wait_for_half(folder)
    finally:
        process.kill()
        process.join()
    assert fetch(wanted, patience_s=60).read_bytes() == NETWORK
    assert servers[0].headers("Range") == [None, f"bytes={HALF}-"]
    check_clean(folder, f"{NAME}.onnx")


def test_several_at_once_download_once(
    folder: Path, servers: list[LyingServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def slow(request: BaseHTTPRequestHandler) -> None:
        servers[0].released.wait(20)
        file(ZIP)(request)

    wanted = model(servers, [slow], [status(404)])
    got: list[Path] = []
    threads = [threading.Thread(target=lambda: got.append(fetch(wanted, patience_s=60))) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until_sync(
            lambda: caplog.text.count("another process is downloading rtmo-m") == 3, "three to wait"
        )
    finally:
        servers[0].released.set()
        for thread in threads:
            thread.join()
    assert got == [folder / f"{NAME}.onnx"] * 4
    assert len(servers[0].asked) == 1


def test_nobody_waits_for_ever_for_another_one(folder: Path, servers: list[LyingServer]) -> None:
    wanted = model(servers, [stalls(ZIP[:HALF], len(ZIP)), status(404)], [status(404)])

    def fail() -> None:
        with pytest.raises(ModelError):
            fetch(wanted, patience_s=60)

    first = threading.Thread(target=fail)
    first.start()
    wait_for_half(folder)
    with pytest.raises(ModelError, match=r"^another process is still downloading rtmo-m; give"):
        fetch(wanted, patience_s=0.3)
    servers[0].released.set()
    first.join()


def test_silence_ends_in_time(
    folder: Path, servers: list[LyingServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked again who did not answer, and the limit holds for both servers together."""
    monkeypatch.setattr(httpget, "ANSWER_S", 0.2)
    with pytest.raises(ModelError, match=r"127.0.0.1: it does not answer; 127.0.0.1: it does not answer\)"):
        fetch(model(servers, [silent], [silent]), patience_s=60)
    assert [len(server.asked) for server in servers] == [1, 1]
    monkeypatch.setattr(httpget, "ANSWER_S", 1000.0)
    with pytest.raises(ModelError, match="it does not answer"):
        fetch(model(servers, [silent], [silent]), patience_s=0.2)


def test_a_stall_is_tried_again_and_continued(
    folder: Path, servers: list[LyingServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "STALL_S", 0.2)
    wanted = model(servers, [stalls(ZIP[:HALF], len(ZIP)), file(ZIP)], [])
    assert fetch(wanted, patience_s=60).read_bytes() == NETWORK
    assert servers[0].headers("Range") == [None, f"bytes={HALF}-"]


def test_a_cache_that_cannot_be_written_is_one_line(
    folder: Path, servers: list[LyingServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = model(servers, [file(ZIP)], [file(ZIP)])
    folder.parent.write_text("a file")
    with pytest.raises(ModelError, match=rf"^cannot write to {folder}: Not a directory$"):
        fetch(wanted, patience_s=60)
    if Path("/proc/self").exists():
        monkeypatch.setenv("KINESTREAM_MODELS", "/proc")
        with pytest.raises(ModelError, match=r"^cannot write to /proc: \w"):
            fetch(wanted, patience_s=60)
    assert servers[0].asked == []


@pytest.mark.parametrize("limit", [HALF, len(ZIP) + 1])
def test_a_disk_that_is_full_is_one_line(folder: Path, servers: list[LyingServer], limit: int) -> None:
    """A limit on the size of files stands for the disk: it ends the zip file, or else the network in it."""
    wanted = model(servers, [file(ZIP)], [file(ZIP)])
    packed = model_zip(bytes(len(ZIP)) + NETWORK)
    if limit > HALF:
        wanted = model(servers, [file(packed)], [file(packed)])
        limit = len(packed) + 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(ModelError, match=rf"^cannot write to {folder}: File too large$"):
            fetch(wanted, patience_s=60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cached(wanted) is None and not (folder / f"{NAME}.onnx.part").exists()
    assert fetch(wanted, patience_s=60).exists(), "once there is room"
    assert len(servers[0].asked) == (2 if limit == HALF else 1), "what was whole is not downloaded again"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setenv("KINESTREAM_MODELS", "~/m")
    assert cache_folder() == tmp_path / "m"
    monkeypatch.setenv("KINESTREAM_MODELS", "m")
    assert cache_folder() == Path.cwd() / "m"
    monkeypatch.delenv("KINESTREAM_MODELS")
    assert cache_folder() == Path("/cache/kinestream/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache/kinestream/models"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "KINESTREAM_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)
    with pytest.raises(ModelError, match="no home folder: set KINESTREAM_MODELS"):
        cache_folder()


@pytest.mark.parametrize("name", ["", "x" * 10])
def test_an_empty_file_is_no_model(folder: Path, servers: list[LyingServer], name: str) -> None:
    wanted = model(servers, [file(ZIP)], [file(ZIP)])
    folder.mkdir(parents=True)
    (folder / f"{NAME}.onnx").write_text(name)
    assert (cached(wanted) is None) == (name == "")
    assert (fetch(wanted, patience_s=60).read_bytes() == NETWORK) == (name == "")
