"""`kinestream.runtimedir`: whose directory it is, where it is, and who has claimed it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import redis as redis_py

from kinestream.embedded import EmbeddedRedis, find_redis_url
from kinestream.errors import UsageError
from kinestream.runtimedir import Claim, is_claimed, runtime_dir
from servers import BINARIES

pytestmark = pytest.mark.skipif(not BINARIES, reason="no redis-server here")


def client(server: EmbeddedRedis) -> redis_py.Redis:
    return redis_py.Redis.from_url(server.url, decode_responses=True)


def test_where_the_directory_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", "/tmp/mine")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_dir() == Path("/tmp/mine")
    monkeypatch.delenv("KINESTREAM_RUNTIME_DIR")
    assert runtime_dir() == tmp_path / "kinestream"
    of_this_user = Path(f"/tmp/kinestream-{os.getuid()}")
    for useless in ("", "relative", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", useless)
        assert runtime_dir() == of_this_user
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_dir() == Path("/tmp/kinestream-12345"), "an XDG_RUNTIME_DIR of another user is passed over"


@pytest.mark.parametrize(
    "wrong", ["open to others", "a link", "a file", "somebody else's", "without a parent"]
)
def test_a_directory_that_is_not_ours_alone_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    if wrong == "open to others":
        place.mkdir(mode=0o755)
        place.chmod(0o755)
    elif wrong == "a link":
        tmp_path.chmod(0o700)
        place.symlink_to(tmp_path)
    elif wrong == "a file":
        place.touch(mode=0o600)
    elif wrong == "somebody else's":
        place.mkdir(mode=0o700)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    else:
        monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", str(place / "deeper"))
    with pytest.raises(
        UsageError, match=r"^cannot use the directory .*; set KINESTREAM_RUNTIME_DIR to another"
    ):
        EmbeddedRedis().start()
    if wrong != "without a parent":
        with pytest.raises(UsageError, match=r"^cannot use the directory"):
            find_redis_url(None)


def test_a_path_too_long_for_a_socket_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = place.parent / ("x" * 100)
    monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", str(long))
    for private in (False, True):
        with pytest.raises(
            UsageError, match=r"may have 107 bytes.*set KINESTREAM_RUNTIME_DIR to a shorter one"
        ):
            EmbeddedRedis(private=private).start()
    assert not [*long.glob("private-*")]


def test_a_path_with_odd_characters_works(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", str(place.parent / "a b%20#?@é"))
    with EmbeddedRedis() as server, client(server) as asking:
        assert asking.ping()
        assert find_redis_url(None) == server.url == find_redis_url(server.url)


def test_a_claim_is_exclusive_until_released(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path)
    claim = Claim(tmp_path)
    assert is_claimed(tmp_path)
    with pytest.raises(BlockingIOError):
        Claim(tmp_path)
    claim.release()
    assert not is_claimed(tmp_path)
    Claim(tmp_path).release()
