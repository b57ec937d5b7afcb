"""`kinestream.redis`: connections to real servers, and which servers are refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis.exceptions
from redis.asyncio import Redis

import kinestream.redis as patience
from kinestream.errors import RedisUnavailable
from kinestream.keys import Keys
from kinestream.redis import check_server, connect, through_outages
from servers import Server, free_port

SECRET = "s3cr3t"


def test_settings_are_explicit() -> None:
    with_password = connect(f"redis://me:{SECRET}@127.0.0.1:1/3", blocking_ms=2000)
    settings = with_password.connection_pool.connection_kwargs
    assert settings["protocol"] == 2
    assert settings["decode_responses"] is False
    assert settings["socket_timeout"] == 7.0
    assert settings["socket_connect_timeout"] == 5.0
    assert settings["health_check_interval"] > 0
    assert settings["db"] == 3
    assert {*settings["retry_on_error"]} == {*patience.AWAY} - {redis.exceptions.TimeoutError}
    assert SECRET not in repr(with_password) + repr(with_password.connection_pool)


async def test_replies_are_bytes(every_redis: Redis, keys: Keys) -> None:
    await every_redis.hset(keys.cameras, mapping={"gate": "1"})
    assert await every_redis.hgetall(keys.cameras) == {b"gate": b"1"}


async def test_a_lost_connection_is_made_again(own_server: Callable[..., Server]) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as client:
        await client.set("x", 1)
        server.restart()
        assert await client.get("x") == b"1"


async def test_tcp_with_a_password(own_server: Callable[..., Server]) -> None:
    port = free_port()
    own_server(options=["--bind", "127.0.0.1", "--port", str(port), "--requirepass", SECRET])
    url = f"redis://:{SECRET}@127.0.0.1:{port}/1"
    check_server(url)
    async with connect(url) as client:
        assert await client.ping()


@pytest.mark.parametrize("given", ["", ":not-it-s3cr3t@"])
async def test_a_refused_password_is_one_line(own_server: Callable[..., Server], given: str) -> None:
    port = free_port()
    own_server(options=["--bind", "127.0.0.1", "--port", str(port), "--requirepass", "another"])
    url = f"redis://{given}127.0.0.1:{port}"
    with pytest.raises(RedisUnavailable, match="no Redis answers at redis://") as caught:
        check_server(url)
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)
    async with connect(url) as client:
        with pytest.raises(RedisUnavailable, match="refused the connection while testing") as caught:
            await through_outages(client.ping, what="testing")
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


def make_certificate(directory: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


async def test_tls(own_server: Callable[..., Server], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    try:
        own_server(
            options=f"--bind 127.0.0.1 --tls-port {port} --tls-auth-clients no".split()
            + f"--tls-cert-file {certificate} --tls-key-file {key}".split()
        )
    except AssertionError as error:
        if "tls" not in str(error):
            raise
        pytest.skip("this redis-server was built without TLS")
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"
    check_server(url)
    async with connect(url) as client:
        assert await client.ping()
    with pytest.raises(RedisUnavailable, match="certificate"):
        check_server(f"rediss://127.0.0.1:{port}")


# ---- Servers that may be used


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(RedisUnavailable, match=r"no Redis answers at redis://127\.0\.0\.1:\d+: ") as caught:
        check_server(f"redis://127.0.0.1:{free_port()}")
    assert "\n" not in str(caught.value)
    with pytest.raises(RedisUnavailable, match=r"no Redis answers at unix:///nowhere/redis\.sock"):
        check_server("unix:///nowhere/redis.sock")


def test_a_server_that_evicts_is_refused(own_server: Callable[..., Server]) -> None:
    server = own_server(maxmemory="50mb", options=["--maxmemory-policy", "allkeys-lru"])
    with pytest.raises(
        RedisUnavailable, match=r"evicts keys .allkeys-lru.*set its maxmemory-policy to noeviction"
    ):
        check_server(server.url)


def test_an_old_server_is_refused() -> None:
    patience._check_facts("redis://h", {"redis_version": "6.2.0"})
    patience._check_facts("redis://h", {"redis_version": "255.255.255"})
    with pytest.raises(RedisUnavailable, match=r"is 6\.0\.16; Kinestream needs 6\.2 or newer"):
        patience._check_facts("redis://h", {"redis_version": "6.0.16"})


async def test_a_server_that_hides_its_facts_is_taken(
    every_redis_url: str, every_redis: Redis, keys: Keys
) -> None:
    user = keys.prefix
    await every_redis.acl_setuser(user, enabled=True, passwords=["+x"], commands=["+ping"], keys=["*"])
    check_server(every_redis_url.replace("unix://", f"unix://{user}:x@"))
    await every_redis.acl_deluser(user)
