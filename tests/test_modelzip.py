"""`modelzip.unpack`: the one network comes out, and nothing else ever comes anywhere."""

from __future__ import annotations

import hashlib
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import ModelError
from kinestream_workers import modelzip
from kinestream_workers.modelzip import ZipError, sha256_of, unpack
from modelzips import INSIDE, model_zip, zipped

NETWORK = np.random.default_rng(3).bytes(50_000) + bytes(100_000)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "in" / "model.zip"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "model.onnx.part"


@pytest.mark.parametrize(
    "content",
    [
        model_zip(NETWORK),
        zipped({"end2end.onnx": NETWORK}),
        zipped({INSIDE: NETWORK}, compression=zipfile.ZIP_STORED),
        zipped({INSIDE: NETWORK}, compression=zipfile.ZIP_LZMA),
        b"#!/bin/sh\n" + model_zip(NETWORK),
    ],
)
def test_the_network_comes_out(archive: Path, into: Path, content: bytes) -> None:
    archive.write_bytes(content)
    assert unpack(archive, into) == sha256_of(into) == hashlib.sha256(NETWORK).hexdigest()
    assert into.read_bytes() == NETWORK
    assert [*into.parent.iterdir()] == [into]


def encrypted() -> bytes:
    """The flag is enough: nothing is decrypted."""
    content = bytearray(zipped({INSIDE: NETWORK}))
    at = content.rindex(b"PK\x01\x02")
    content[6] |= 1
    content[at + 8] |= 1
    return bytes(content)


def claims_size(size: int) -> bytes:
    content = bytearray(zipped({INSIDE: NETWORK}))
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, size)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its zip file is damaged"),
        (b"PK", "its zip file is damaged"),
        (NETWORK, "its zip file is damaged"),
        (model_zip(NETWORK)[:-1000], "its zip file is damaged"),
        (model_zip(NETWORK)[5000:], "its zip file is damaged"),
        (b"\n<!DOCTYPE html><html><body>Please log in</body></html>", "it is a web page, not a zip file"),
        (zipped({}), "its zip file holds no end2end.onnx, wanted one"),
        (zipped({"model.onnx": NETWORK, "end2end.onnx/x": b""}), "its zip file holds no end2end.onnx"),
        (model_zip(NETWORK, **{"b/end2end.onnx": b"x"}), "its zip file holds 2 end2end.onnx, wanted one"),
        (zipped({"../../end2end.onnx": NETWORK}), "a name in its zip file leads out of it"),
        (model_zip(NETWORK, **{"/etc/cron.d/x": b"x"}), "a name in its zip file leads out of it"),
        (model_zip(NETWORK, **{"a\\..\\..\\x": b"x"}), "a name in its zip file leads out of it"),
        (model_zip(NETWORK, **{"C:\\x": b"x"}), "a name in its zip file leads out of it"),
        (encrypted(), "its zip file is encrypted"),
        (claims_size(2**31), "its network is larger than 512 MB"),
        (claims_size(len(NETWORK) - 1), "its zip file is damaged"),
    ],
)
def test_what_is_refused(archive: Path, into: Path, content: bytes, reason: str) -> None:
    archive.write_bytes(content)
    with pytest.raises(ZipError) as caught:
        unpack(archive, into)
    assert str(caught.value).startswith(reason)
    assert {*into.parent.parent.rglob("*")} <= {archive, archive.parent, into, into.parent}


def test_a_bomb_is_not_unpacked(archive: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims less than it holds; no more is written than it claims."""
    monkeypatch.setattr(modelzip, "MAX_BYTES", 1000)
    archive.write_bytes(zipped({INSIDE: bytes(1001)}))
    with pytest.raises(ZipError, match="larger"):
        unpack(archive, into)
    assert not into.exists()
    content = bytearray(zipped({INSIDE: bytes(10_000_000)}))
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, 1000)
    archive.write_bytes(content)
    with pytest.raises(ZipError, match="damaged"):
        unpack(archive, into)
    assert into.stat().st_size <= 1000


def test_a_network_that_is_a_link_is_a_file(archive: Path, into: Path) -> None:
    member = zipfile.ZipInfo("end2end.onnx")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(member, "/etc/passwd")
    unpack(archive, into)
    assert not into.is_symlink() and into.read_text() == "/etc/passwd"


def test_whatever_is_damaged_is_one_error(archive: Path, into: Path) -> None:
    """Bytes are changed at random; the network comes out as it was, or not at all."""
    chance = random.Random(4)
    whole = [model_zip(NETWORK), zipped({INSIDE: NETWORK}, compression=zipfile.ZIP_LZMA)]
    refused = 0
    for number in range(300):
        content = bytearray(whole[number % 2])
        for _ in range(chance.choice([1, 3, 20])):
            near = chance.choice([0, len(content) - 300])
            content[near + chance.randrange(300)] = chance.randrange(256)
        archive.write_bytes(content)
        try:
            unpack(archive, into)
        except ZipError:
            refused += 1
        else:
            assert into.read_bytes() == NETWORK
    assert 100 < refused < 300


def test_a_network_that_cannot_be_written(archive: Path, into: Path) -> None:
    archive.write_bytes(model_zip(NETWORK))
    into.mkdir()
    with pytest.raises(ModelError, match=r"^cannot write to .*: Is a directory$") as caught:
        unpack(archive, into)
    assert not isinstance(caught.value, ZipError), "another server cannot help"
    if Path("/dev/full").exists():
        into.rmdir()
        into.symlink_to("/dev/full")
        with pytest.raises(ModelError, match=r"^cannot write to .*: No space left on device$"):
            unpack(archive, into)
