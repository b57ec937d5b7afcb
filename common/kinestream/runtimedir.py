"""The directory where this user's Redis server lives, and the claim that says who owns a directory.

A claim is a `flock`: the kernel drops it when its holder ends, however that happens, so that nothing has to
guess whether a socket or a directory that lies around is still in use.

Not for: what is put there (see `embedded.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path

from kinestream.errors import UsageError

RUNTIME_DIR_VARIABLE = "KINESTREAM_RUNTIME_DIR"
"""Environment variable that names the directory; others who set it to the same value share the server."""

PRIVATE_PREFIX = "private-"
"""How the directories of private servers begin."""

_LOCK = "lock"

_CLAIM_PATIENCE_S = 0.3
"""Somebody who only looks whether a directory is claimed holds the lock too, for an instant."""

_YOUNG_S = 60.0
"""A directory younger than this may belong to a process that is just about to claim it."""


def runtime_dir() -> Path:
    """Return $KINESTREAM_RUNTIME_DIR, else $XDG_RUNTIME_DIR/kinestream, else /tmp/kinestream-UID; makes none.

    An XDG_RUNTIME_DIR that is not there or is somebody else's (after `su`) is passed over.
    """
    given = os.environ.get(RUNTIME_DIR_VARIABLE)
    if given:
        return Path(given).absolute()
    xdg = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        if xdg.startswith("/") and Path(xdg).stat().st_uid == os.getuid():
            return Path(xdg) / "kinestream"
    return Path(f"/tmp/kinestream-{os.getuid()}")


def make_directory(directory: Path) -> Path:
    """Make `directory` for this user alone if it is missing, check it, and return it.

    Raises `UsageError` if it cannot be made, or if somebody else owns it or may look into it: whoever can
    place a socket there could read every frame.
    """
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        check_directory(directory)
    except OSError as error:
        raise _unusable(directory, error.strerror or str(error)) from error
    return directory


def check_directory(directory: Path) -> None:
    """Raise `UsageError` unless `directory` is a real directory of this user that is closed to all others."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        wrong = "it is no directory"
    elif found.st_uid != os.getuid():
        wrong = f"it belongs to user {found.st_uid}"
    elif found.st_mode & 0o077:
        wrong = f"others may enter it (mode {stat.S_IMODE(found.st_mode):o}, wanted 700)"
    else:
        return
    raise _unusable(directory, wrong)


def _unusable(directory: Path, why: str) -> UsageError:
    return UsageError(
        f"cannot use the directory {directory}: {why}; set {RUNTIME_DIR_VARIABLE} to another one"
    )


class Claim:
    """This process's claim on a directory; it lasts until `release`, or until the process ends."""

    def __init__(self, directory: Path) -> None:
        """Claim `directory`; raises `BlockingIOError` if another process has claimed it."""
        self._file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + _CLAIM_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(self._file)
                    raise
                time.sleep(0.02)

    def release(self) -> None:
        """Give the directory up."""
        os.close(self._file)


def is_claimed(directory: Path) -> bool:
    """Whether some process, this one included, has claimed `directory`."""
    try:
        file = os.open(directory / _LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def sweep_private(parent: Path) -> None:
    """Remove the private directories under `parent` whose owners ended without doing so (kill -9)."""
    for directory in parent.glob(PRIVATE_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.lstat().st_mtime > _YOUNG_S and not is_claimed(directory):
                shutil.rmtree(directory)
