"""What arq stores is msgpack, exceptions included; a pickle that somebody planted is never loaded."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jobbing import yard
from kinestream.errors import JobFailed, KinestreamError, RunLost, UsageError
from kinestream.jobs.packed import pack, unpack
from pipeline import TIMEOUT_S
from servers import Server
from waiting import wait_until_sync


class Payload:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, made: Path) -> None:
        self._made = made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self._made),)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("why"),
        UsageError("why"),
        JobFailed("why"),
        asyncio.CancelledError("why"),
        TimeoutError("why"),
    ],
)
def test_exceptions_make_the_round_trip(error: BaseException) -> None:
    back = unpack(pack({"r": error, "n": [1, None, "ü"]}))
    assert type(back["r"]) is type(error)
    assert str(back["r"]) == "why" and back["n"] == [1, None, "ü"]


def test_what_cannot_be_made_again_becomes_words() -> None:
    class OfMine(Exception):
        pass

    for error in (OfMine("why"), RunLost("hall", 1, 2, 3), KeyboardInterrupt("why"), UnicodeError("why")):
        back = unpack(pack({"r": error}))["r"]
        assert isinstance(back, Exception) and str(error) in str(back)


@pytest.mark.parametrize("name", ["eval", "SystemExit", "annotations", "Any", "__import__", "nothing"])
def test_no_other_name_is_ever_called(name: str) -> None:
    packed = msgpack.packb({"r": msgpack.ExtType(1, msgpack.packb([name, "1/0"]))})
    assert repr(unpack(packed)["r"]) == f"RuntimeError('{name}: 1/0')"


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        pickle.dumps({"t": 1}),
        pickle.dumps({"t": 1}, protocol=0),
        msgpack.packb([1]),
        msgpack.packb({"r": msgpack.ExtType(2, b"")}),
        msgpack.packb({"r": msgpack.ExtType(1, b"")}),
        msgpack.packb({"r": msgpack.ExtType(1, msgpack.packb([1, 2]))}),
        msgpack.packb({"r": msgpack.ExtType(1, msgpack.packb("name"))}),
    ],
)
def test_anything_else_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"no msgpack|a map is wanted"):
        unpack(packed)


def test_only_plain_things_are_packed() -> None:
    with pytest.raises(TypeError, match="Path cannot be handed to another process"):
        pack({"a": Path()})
    assert not issubclass(KinestreamError, asyncio.CancelledError)


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_a_planted_pickle_is_never_loaded_and_others_go_on(
    tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    made = tmp_path / "made"
    call = {"t": None, "f": "run_job", "a": (Payload(made),), "k": {}, "et": round(1000 * time.time())}
    harmful = pickle.dumps(call)
    check = tmp_path / "check"
    pickle.loads(pickle.dumps(Payload(check)))
    assert check.is_dir(), "the payload is one"
    with yard(tmp_path, own_server()) as stage:
        plants = {
            "pickled": harmful,
            "pickle": pickle.dumps(Payload(made)),
            "words": b"hello",
            "job": msgpack.packb({"t": None, "f": "run_job", "a": [7], "k": {}, "et": 1}),
            "many": msgpack.packb({"t": None, "f": "run_job", "a": [1, 2, 3], "k": {}, "et": 1}),
            "unknown": msgpack.packb({"t": None, "f": "os.system", "a": ["true"], "k": {}, "et": 1}),
        }
        for queue in ("videos", "house"):
            for name, planted in plants.items():
                stage.redis("SET", f"arq:job:{queue}-{name}", planted)
                stage.redis("ZADD", f"ks:{{0}}:job-queue:{queue}", 1000, f"{queue}-{name}")
        stage.worker()
        jobs = stage.jobs()
        job_id = stage.submit(stage.film("jump.mp4", 5))
        stage.wait(job_id, state="done")
        wait_until_sync(lambda: not stage.redis("KEYS", "arq:job:*-*"), "all that was planted to be removed")
        assert not stage.redis("ZRANGE", "ks:{0}:job-queue:videos", 0, -1)
        assert "no msgpack" in jobs.said and jobs.runs
    assert not made.exists()
