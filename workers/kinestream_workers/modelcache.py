"""The folder that keeps downloaded models: where it is, and how a published model comes into it, once.

A file has its name there only when it is whole and its SHA-256 is right. Of several processes that want the
same one, one downloads it and the others wait. Not for: HTTP (see `download.py`), zip files (`modelzip.py`),
or which name means which model (`zoo.py`, `models.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from kinestream.errors import ModelError
from kinestream_workers.download import discard, download, writing_to
from kinestream_workers.httpget import DownloadError
from kinestream_workers.modelprogress import progress_shown
from kinestream_workers.modelzip import ZipError, sha256_of, unpack
from kinestream_workers.zoo import ZooModel

MODELS_VARIABLE = "KINESTREAM_MODELS"
"""Environment variable that names the folder."""

OFFLINE_VARIABLE = "KINESTREAM_OFFLINE"
"""Environment variable that forbids downloads, unless it is empty or 0."""

TRIES = 3
"""Times that one server is asked, as long as it may help; each goes on where the one before has ended."""

PAUSE_S = 1.0
"""Between two of them."""

_LOOK_S = 0.1

_log = logging.getLogger(__name__)


class WrongSum(ModelError):
    """A file is not the one that was wanted."""


def cache_folder() -> Path:
    """Return $KINESTREAM_MODELS, else $XDG_CACHE_HOME/kinestream/models, else ~/.cache/kinestream/models.

    Makes none. Raises `ModelError` if there is neither a variable nor a home.
    """
    given = os.environ.get(MODELS_VARIABLE)
    try:
        if given:
            return Path(given).expanduser().absolute()
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(xdg) if xdg.startswith("/") else Path.home() / ".cache"
    except RuntimeError as error:
        raise ModelError(
            f"this user has no home folder: set {MODELS_VARIABLE} to a folder for models"
        ) from error
    return cache / "kinestream" / "models"


def cached(model: ZooModel) -> Path | None:
    """Where a model lies in the cache, None if it does not."""
    path = cache_folder() / model.file
    try:
        return path if path.stat().st_size else None
    except OSError:
        return None


def fetch(model: ZooModel, *, patience_s: float, sha256: str | None = None) -> Path:
    """Return a model's file in the cache, downloaded if it is not there; it may take `patience_s` seconds.

    What is downloaded must have `sha256`, or else the one that is known of this model, if any. What is there
    already is only looked at if `sha256` is given. Raises `Unavailable`, or another `ModelError`, with a line
    that says what to do.
    """
    path = cached(model)
    if path is None:
        path = _fetch(model, sha256 or model.sha256, time.monotonic() + patience_s)
    elif sha256 and (found := sha256_of(path)) != sha256:
        raise WrongSum(f"{path} has SHA-256 {found}, wanted {sha256}: remove it, and pull {model.name} again")
    return path


class Unavailable(ModelError):
    """A published model is not here and cannot be had now: `why`, and in the full text what to do."""

    def __init__(self, why: str, model: ZooModel) -> None:
        super().__init__(
            f"{why}; give a file of your own with --model FILE, put {model.file} into {cache_folder()} "
            f"({MODELS_VARIABLE} names another folder), or try the test card with --model testcard"
        )
        self.why = why


def _fetch(model: ZooModel, sha256: str | None, deadline_s: float) -> Path:
    if os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0"):
        raise Unavailable(f"{model.name} is not here and {OFFLINE_VARIABLE} forbids to download it", model)
    folder = cache_folder()
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / model.file
    with _alone(folder / f".{model.name}.lock", model, deadline_s):
        if cached(model):  # another process has been faster
            return path
        reasons = []
        for url, following in zip(model.urls, [*model.urls[1:], None], strict=True):
            try:
                _fetch_from(url, model, path, sha256, deadline_s)
                return path
            except (DownloadError, ZipError, WrongSum) as error:
                reasons.append(f"{urlsplit(url).hostname}: {error}")
                if following:
                    _log.info("%s; asking %s", reasons[-1], urlsplit(following).hostname)
        raise Unavailable(f"cannot download {model.name} ({'; '.join(reasons)})", model)


def _fetch_from(url: str, model: ZooModel, path: Path, sha256: str | None, deadline_s: float) -> None:
    """Download from one server, unpack, check, and give the file its name."""
    packed = path.with_name(model.zip_file + ".part")
    unpacked = path.with_name(path.name + ".part")
    _download(url, model, packed, deadline_s)
    try:
        found = unpack(packed, unpacked)
        if sha256 and found != sha256:
            raise WrongSum(
                f"its file has SHA-256 {found}, wanted {sha256}; to take it nevertheless: "
                f"kinestream models pull {model.name} --sha256 {found}"
            )
        with writing_to(path.parent):
            unpacked.replace(path)
    except (ZipError, WrongSum):
        discard(packed)
        raise
    finally:
        unpacked.unlink(missing_ok=True)
    discard(packed)
    known = "as wanted" if sha256 else "not pinned"
    _log.info("%s is here now: %s, SHA-256 %s, %s", model.name, path, found, known)


def _download(url: str, model: ZooModel, packed: Path, deadline_s: float) -> None:
    """Ask one server for the zip file, more than once if that may help."""
    for attempt in range(1, TRIES + 1):
        try:
            with progress_shown(model.name, url) as progress:
                download(url, packed, deadline_s=deadline_s, progress=progress)
                return
        except DownloadError as error:
            if not error.again or attempt == TRIES or time.monotonic() + PAUSE_S > deadline_s:
                raise
            _log.info("%s: %s; once more", urlsplit(url).hostname, error)
            time.sleep(PAUSE_S)


@contextlib.contextmanager
def _alone(lock: Path, model: ZooModel, deadline_s: float) -> Iterator[None]:
    """Hold a lock that the kernel drops when this process ends; raises `ModelError` after `deadline_s`."""
    with writing_to(lock.parent):
        file = lock.open("a")
    with file:
        told = False
        while not _locked(file.fileno(), lock):
            if not told:
                _log.info("another process is downloading %s: waiting for it", model.name)
                told = True
            if time.monotonic() > deadline_s:
                raise Unavailable(f"another process is still downloading {model.name}", model)
            time.sleep(_LOOK_S)
        yield


def _locked(file: int, lock: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ModelError(f"cannot lock {lock}: {error.strerror}") from error
    return True
