"""`httpget.get`: an answer that begins in time, over a safe connection, or a reason in a few words.

Not for: the body of an answer, and what a status means (see `test_download.py`).
"""

from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from kinestream_workers import httpget
from kinestream_workers.httpget import DownloadError, get
from lying_http import LyingServer, file, redirect, silent
from waiting import wait_until_sync

BODY = b"a model"


@pytest.fixture
def server() -> Iterator[LyingServer]:
    with LyingServer() as started:
        yield started


def body_of(url: str) -> bytes:
    with get(url, time.monotonic() + 60, 20.0) as response:
        return response.read()


def refused(url: str) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        body_of(url)
    assert "\n" not in str(caught.value)
    return caught.value


def test_redirects_are_few(server: LyingServer) -> None:
    for number in range(httpget.MAX_REDIRECTS + 1):
        server.on(f"/{number}", redirect(f"/{number + 1}"))
    server.on(f"/{httpget.MAX_REDIRECTS + 1}", file(BODY))
    assert body_of(server.url + "/1") == BODY
    assert str(refused(server.url + "/0")) == "its redirects lead nowhere"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for 127.0.0.1 with its key, that this process trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl on PATH to make a certificate")
    path = tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(path)]
    subprocess.run(made, check=True, capture_output=True)
    path.write_text((tmp_path / "key").read_text() + path.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def test_https_is_never_left(certificate: Path, server: LyingServer) -> None:
    plain = server.on("/file", file(BODY))
    with LyingServer(certificate) as secure:
        assert body_of(secure.on("/file", file(BODY))) == BODY
        assert body_of(server.on("/up", redirect(secure.url + "/file"))) == BODY
        leads_out = secure.on("/down", redirect(plain))
        assert str(refused(leads_out)) == "it redirects to an address that is not safe"
    assert [path for path, _ in server.asked] == ["/up"]


def test_a_certificate_that_nobody_knows(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with LyingServer(certificate) as secure:
        assert "its certificate is not trusted" in str(refused(secure.on("/file", file(BODY))))


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = refused(f"http://127.0.0.1:{free.getsockname()[1]}/file")
    assert str(error) == "it cannot be reached (Connection refused)" and not error.again


def test_a_host_without_address() -> None:
    assert "it cannot be reached (" in str(refused("http://no-such-host.invalid/file"))


def test_a_proxy_is_taken_from_the_environment(server: LyingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.on("http://models.invalid/file", file(BODY))
    assert body_of("http://models.invalid/file") == BODY


def test_no_answer(server: LyingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpget, "ANSWER_S", 0.3)
    error = refused(server.on("/file", silent))
    assert str(error) == "it does not answer" and not error.again, (
        "whoever starts a worker has waited long enough"
    )


def test_the_answer_to_nobody_is_dropped(server: LyingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a thread that was left alone ends, and closes its connection (a warning here is a failure)."""

    def late(request: BaseHTTPRequestHandler) -> None:
        server.released.wait()
        file(BODY)(request)

    def asking() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == httpget.THREAD]

    monkeypatch.setattr(httpget, "ANSWER_S", 0.3)
    assert str(refused(server.on("/file", late))) == "it does not answer"
    assert asking(), "or this shows nothing"
    server.released.set()
    wait_until_sync(lambda: not asking(), "the thread to end")
    gc.collect()
