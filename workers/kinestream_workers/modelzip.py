"""The one ONNX file in a zip file that somebody else made, without trusting it.

A member is read as a stream into a file whose name is ours, so no name inside can reach another place. Names
that try are refused nevertheless: such a file is not what was asked for. Not for: what the network computes.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from kinestream.errors import ModelError
from kinestream_workers.download import write_all, writing_to

MEMBER = "end2end.onnx"
"""How mmdeploy, which exports these models, names the network, in whatever folder."""

MAX_BYTES = 512 * 2**20
"""Of the network unpacked. RTMO's largest one has a third of it; a zip file can claim any size."""

_CHUNK = 1024 * 1024


class ZipError(ModelError):
    """A file is no zip file, or holds something else than one network."""


def unpack(archive: Path, into: Path) -> str:
    """Write the network in `archive` to `into`, and return its SHA-256 in hexadecimal digits.

    Raises `ZipError` if that is not what the file holds, `ModelError` if it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            member = _network(opened)
            with opened.open(member) as packed:
                return _copy(packed, into)
    except ModelError:
        raise
    except Exception as error:  # zipfile, zlib, lzma and struct each have their own for what is damaged
        page = _begins(archive) == b"<"
        raise ZipError("it is a web page, not a zip file" if page else "its zip file is damaged") from error


def _begins(archive: Path) -> bytes:
    with archive.open("rb") as file:
        return file.read(100).lstrip()[:1]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _network(opened: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The member to unpack; raises `ZipError`."""
    for member in opened.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise ZipError("a name in its zip file leads out of it")
    found = [member for member in opened.infolist() if PurePosixPath(member.filename).name == MEMBER]
    if len(found) != 1:
        raise ZipError(f"its zip file holds {len(found) or 'no'} {MEMBER}, wanted one")
    if found[0].flag_bits & 1:
        raise ZipError("its zip file is encrypted")
    if found[0].file_size > MAX_BYTES:
        raise ZipError(f"its network is larger than {MAX_BYTES // 2**20} MB")
    return found[0]


def _copy(packed: IO[bytes], into: Path) -> str:
    """Write a member to a file, as many bytes of it as it claims to have: zipfile gives no more."""
    digest = hashlib.sha256()
    with writing_to(into.parent):
        file = into.open("wb", buffering=0)
    with file:
        while chunk := packed.read(_CHUNK):
            digest.update(chunk)
            with writing_to(into.parent):
                write_all(file, chunk)
        with writing_to(into.parent):
            os.fsync(file.fileno())
    return digest.hexdigest()
