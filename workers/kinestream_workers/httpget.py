"""One HTTP request, whose answer begins within a bounded time, with reasons in a few words when it does not.

Not for: the body of the answer (see `download.py`).
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import ssl
import threading
import time
import urllib.request
from email.message import Message
from http import HTTPStatus
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from kinestream.errors import ModelError

ANSWER_S = 15.0
"""For a server to begin its answer: name, connection, TLS, redirects, headers. A worker that starts waits for
it.
"""

MAX_REDIRECTS = 5

THREAD = "http"
"""Name of the threads that ask."""


class DownloadError(ModelError):
    """A server did not give the file. `again` tells that it may do so if it is asked once more."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Few, and never from an encrypted connection to one that is not."""

    max_redirections = MAX_REDIRECTS
    max_repeats = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Refuse what leads away from https, or from HTTP as a whole."""
        if urlsplit(newurl).scheme not in ("https", urlsplit(req.full_url).scheme):
            fp.close()
            raise DownloadError("it redirects to an address that is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def get(
    url: str, deadline_s: float, stall_s: float, have: int = 0, validator: str = ""
) -> http.client.HTTPResponse:
    """Ask for a file, from byte `have` on if it is of that version; raises `DownloadError`.

    A thread asks, since no timeout of a socket bounds the whole of it: looking up the name, each of the
    server's addresses, each redirect. If it takes too long, the thread is left alone, and its answer dropped.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "kinestream", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    opener = urllib.request.build_opener(_Redirects())
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()
    abandoned = threading.Event()

    def ask() -> None:
        try:
            answers.put(opener.open(request, timeout=stall_s))
        except Exception as error:
            answers.put(error)
        if abandoned.is_set():
            _drop(answers)

    threading.Thread(target=ask, name=THREAD, daemon=True).start()
    patience_s = min(ANSWER_S, deadline_s - time.monotonic())
    try:
        answer = answers.get(timeout=max(patience_s, 0.0))
    except queue.Empty:
        abandoned.set()
        _drop(answers)  # it came in between
        raise DownloadError("it does not answer") from None
    if not isinstance(answer, Exception):
        return answer
    return _refused(answer)


def _drop(answers: queue.SimpleQueue[http.client.HTTPResponse | Exception]) -> None:
    """Close an answer that nobody waits for."""
    with contextlib.suppress(queue.Empty):
        answer = answers.get_nowait()
        if isinstance(answer, http.client.HTTPResponse | HTTPError):
            answer.close()


def _refused(error: Exception) -> http.client.HTTPResponse:
    """Raise what an opener raised in our words; a range that is not there is an answer like any other."""
    if isinstance(error, HTTPError):
        with error:
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                response = error.fp
                assert isinstance(response, http.client.HTTPResponse)
                return response
            if 300 <= error.code < 400:
                raise DownloadError("its redirects lead nowhere") from error
            busy = error.code >= 500 or error.code == HTTPStatus.TOO_MANY_REQUESTS
            raise DownloadError(f"it answers {status_text(error.code)}", again=busy) from error
    if isinstance(error, DownloadError):
        raise error
    if isinstance(error, OSError | http.client.HTTPException | ValueError):
        broke = isinstance(getattr(error, "reason", error), ConnectionResetError)
        raise DownloadError(f"it cannot be reached ({reason_of(error)})", again=broke) from error
    raise error


def status_text(code: int) -> str:
    """A status with the words of the standard, not with those of the server."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def reason_of(error: BaseException) -> str:
    """An error of the network in a few words."""
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, http.client.HTTPException):
        return type(error).__name__  # its text may be the server's
    return str(error)
