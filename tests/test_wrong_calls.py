"""Scripts that are called wrongly by other makers' programs: a clear error, and nothing has changed.

Not for: right calls in a wrong moment, such as `moved` and `fenced` (see `test_delivery*.py`).
"""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from delivering import Delivery
from kinestream.delivery import script_source
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.messages import PoseResult
from kinestream.run import Run

RUN, TOKEN = "7000000000", "t"

Call = tuple[list[str], list[Any]]


def begin(keys: Keys, *, run: str = RUN, before: str = "", frames: str = "") -> Call:
    """The keys and arguments of `begin` as docs/protocol.md lists them."""
    names = [keys.cameras, keys.active, keys.results, keys.frames("cam"), keys.ledger("cam", int(run))]
    names.append(keys.ledger("cam", int(before or 0)))
    end = PoseResult(camera="cam", run=int(before or 1), seq=int(frames or 0), status="end").pack()
    arguments = ["cam", run, before, frames, end, "60", TOKEN, "every-frame", "", "300000", "1000000"]
    return names, [*arguments, "3", "250"]


def offer(keys: Keys, seq: str) -> Call:
    """The same of `offer`, whose frame is no message: scripts do not look inside."""
    names = [keys.cameras, keys.active, keys.frames("cam"), keys.ledger("cam", int(RUN)), keys.results]
    arguments = ["cam", RUN, TOKEN, seq, b"frame", b"if dropped", "every-frame", "64", "1000000"]
    return names, [*arguments, "", "", "", "300000", "1000000"]


def finish(keys: Keys, frames: str) -> Call:
    """The same of `finish`."""
    names = [keys.cameras, keys.active, keys.frames("cam"), keys.ledger("cam", int(RUN)), keys.results]
    return names, ["cam", RUN, TOKEN, frames, b"end", "60", "", "", "", "", "300000", "1000000"]


async def call(redis: Redis, name: str, right: Call) -> Any:
    names, arguments = right
    return await redis.eval(script_source(name), len(names), *names, *arguments)


@pytest.fixture
async def delivery(redis: Redis, keys: Keys) -> Delivery:
    """A camera with an open run of two frames, all of it done with the calls that are spoilt below."""
    assert await call(redis, "begin", begin(keys)) == b"ok"
    for seq in (0, 1):
        assert await call(redis, "offer", offer(keys, str(seq))) == [b"ok", seq + 1]
    return Delivery(redis, keys)


async def refused(delivery: Delivery, name: str, wrong: Call) -> str:
    """Call a script, see that it is refused and has changed nothing; return the error."""
    before = await delivery.everything()
    with pytest.raises(ResponseError, match=r"^BADCALL ") as caught:
        await call(delivery.redis, name, wrong)
    assert await delivery.everything() == before
    ledger = await read_ledger(delivery.redis, "cam", int(RUN), keys=delivery.keys)
    assert ledger is not None and ledger.balanced and (ledger.produced, ledger.in_flight) == (2, 2)
    return str(caught.value)


RIGHT = {
    "begin": lambda keys: begin(keys, run="7000000009", before=RUN, frames="2"),
    "offer": lambda keys: offer(keys, "2"),
    "finish": lambda keys: finish(keys, "2"),
}

WITHOUT_WISHES = {"begin": {11}}
"""As many arguments a program gives that was written before cameras had priorities."""

NO_NUMBERS = ["", "x", "-1", "1.5", "1e3", "0x10", " 2", "02", "9007199254740992", "9" * 400, b"\xff\r\n"]


@pytest.mark.parametrize("name", RIGHT)
async def test_the_right_calls_that_are_spoilt_below_are_taken(delivery: Delivery, name: str) -> None:
    reply = await call(delivery.redis, name, RIGHT[name](delivery.keys))
    assert reply in (b"ok", [b"ok", 2], [b"ok", 3])


@pytest.mark.parametrize("name", RIGHT)
async def test_too_few_and_too_many(delivery: Delivery, name: str) -> None:
    names, arguments = RIGHT[name](delivery.keys)
    for count in {*range(len(arguments))} - WITHOUT_WISHES.get(name, set()):
        told = await refused(delivery, name, (names, arguments[:count]))
        wanted = f"{len(names)} keys and {len(arguments)} arguments are wanted"
        assert told == f"BADCALL {wanted}, got {len(names)} and {count}"
    await refused(delivery, name, (names, [*arguments, ""]))
    for count in range(len(names)):
        await refused(delivery, name, (names[:count], arguments))


@pytest.mark.parametrize(
    ("name", "places"),
    [("begin", (2, 6, 10, 11)), ("offer", (2, 4, 8, 9, 13, 14)), ("finish", (2, 4, 6, 11, 12))],
)
async def test_no_number_where_one_is_wanted(delivery: Delivery, name: str, places: tuple[int, ...]) -> None:
    for place in places:
        for text in NO_NUMBERS:
            names, arguments = RIGHT[name](delivery.keys)
            arguments[place - 1] = text
            told = await refused(delivery, name, (names, arguments))
            assert f"argument {place} must be a whole number" in told, told
            assert len(told) < 200 and told.isprintable()


@pytest.mark.parametrize(
    ("name", "places"), [("begin", (3, 4, 12, 13)), ("offer", (10,)), ("finish", (7, 10))]
)
async def test_neither_a_number_nor_nothing(delivery: Delivery, name: str, places: tuple[int, ...]) -> None:
    for place in places:
        for text in NO_NUMBERS[1:]:
            names, arguments = RIGHT[name](delivery.keys)
            arguments[place - 1] = text
            assert "must be a whole number" in await refused(delivery, name, (names, arguments))


@pytest.mark.parametrize("name", RIGHT)
async def test_a_key_that_is_another_one(delivery: Delivery, name: str) -> None:
    for place in range(len(RIGHT[name](delivery.keys)[0])):
        for other in (
            "ks:cameras",
            "elsewhere",
            delivery.keys.frames("other"),
            delivery.keys.ledger("cam", 5),
        ):
            names, arguments = RIGHT[name](delivery.keys)
            names[place] = other
            assert "must be '" in await refused(delivery, name, (names, arguments))


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("camera", ["", "a:b", "ä", "-a", "a b", "a\n", "a" * 65])
async def test_a_camera_that_is_none(delivery: Delivery, name: str, camera: str) -> None:
    names, arguments = RIGHT[name](delivery.keys)
    assert "camera name" in await refused(
        delivery, name, ([key.replace("cam", camera) for key in names], [camera, *arguments[1:]])
    )


async def test_an_unknown_camera_is_told_so(delivery: Delivery) -> None:
    """No error: it is what a producer sees when Redis has lost its memory."""
    before = await delivery.everything()
    for name in ("offer", "finish"):
        names, arguments = RIGHT[name](delivery.keys)
        names = [key.replace("cam", "other") if "cameras" not in key else key for key in names]
        assert await call(delivery.redis, name, (names, ["other", *arguments[1:]])) == [b"lost", 0]
    assert await delivery.everything() == before


@pytest.mark.parametrize("count", [11, 13])
async def test_a_begin_without_wishes_is_taken(redis: Redis, keys: Keys, count: int) -> None:
    names, arguments = begin(keys)
    arguments[11:] = ["", ""]
    assert await call(redis, "begin", (names, arguments[:count])) == b"ok"
    ledger = await read_ledger(redis, "cam", int(RUN), keys=keys)
    assert ledger is not None and (ledger.priority, ledger.max_age_ms) == (0, None)


@pytest.mark.parametrize(
    ("priority", "max_age_ms", "what"),
    [("10", "250", "a priority is 0 to 9"), ("3", "0", "an age limit is at least 1 ms")],
)
async def test_wishes_that_are_none(delivery: Delivery, priority: str, max_age_ms: str, what: str) -> None:
    names, arguments = RIGHT["begin"](delivery.keys)
    arguments[11:] = [priority, max_age_ms]
    assert what in await refused(delivery, "begin", (names, arguments))


async def test_a_take_with_ranks_for_some_of_the_streams(delivery: Delivery) -> None:
    names = [delivery.keys.frames("cam"), delivery.keys.frames("other")]
    for ranks in ([], ["1"], ["1", "1", ""], ["1", "1", "", "", ""]):
        arguments = ["w", "2", "0", *ranks]
        assert "a rank for each of 2 streams" in await refused(delivery, "take", (names, arguments))


async def test_a_take_without_ranks_is_one_of_equals(delivery: Delivery) -> None:
    """As a program does it that was written before cameras had priorities."""
    await take(delivery)


async def test_lanes_that_are_none(delivery: Delivery) -> None:
    for name, place in (("begin", 8), ("offer", 7)):
        for lane in ("", "Live", "fast"):
            names, arguments = RIGHT[name](delivery.keys)
            arguments[place - 1] = lane
            assert "a lane is live or every-frame" in await refused(delivery, name, (names, arguments))


@pytest.mark.parametrize("run", ["0", "1", str(int(RUN) - 1)])
async def test_a_run_that_goes_back(delivery: Delivery, run: str) -> None:
    told = await refused(delivery, "begin", begin(delivery.keys, run=run, before=RUN, frames="2"))
    assert f"larger than the run before, got '{run}'" in told


async def test_a_seq_that_goes_back_is_a_retry(delivery: Delivery) -> None:
    """No error: it is what follows on a lost reply."""
    before = await delivery.everything()
    assert await call(delivery.redis, "offer", offer(delivery.keys, "0")) == [b"ok", 2]
    assert await delivery.everything() == before


async def test_a_seq_that_jumps_without_a_cause_is_refused(delivery: Delivery) -> None:
    before = await delivery.everything()
    assert await call(delivery.redis, "offer", offer(delivery.keys, "9")) == [b"lost", 2]
    assert await call(delivery.redis, "finish", finish(delivery.keys, "9")) == [b"lost", 2]
    assert await call(delivery.redis, "finish", finish(delivery.keys, "1")) == [b"moved", 2]
    assert await delivery.everything() == before


@pytest.mark.parametrize(
    "gap", [("2", "", ""), ("2", "record", ""), ("", "record", "why"), ("2", "", "why"), ("", "", "why")]
)
async def test_a_gap_in_parts(delivery: Delivery, gap: tuple[str, str, str]) -> None:
    for name, (names, arguments), at in (
        ("offer", offer(delivery.keys, "5"), 9),
        ("finish", finish(delivery.keys, "5"), 6),
    ):
        arguments[at : at + 3] = gap
        assert "come together" in await refused(delivery, name, (names, arguments))


async def test_a_gap_that_begins_too_late_and_a_loss_beyond_the_end(delivery: Delivery) -> None:
    for name, (names, arguments), at in (
        ("offer", offer(delivery.keys, "2"), 9),
        ("finish", finish(delivery.keys, "2"), 6),
    ):
        arguments[at : at + 3] = ("2", "record", "why")
        assert "come before 2, got '2'" in await refused(delivery, name, (names, arguments))
    names, arguments = finish(delivery.keys, "1")
    arguments[9] = "2"
    assert "begins at 1 at the latest" in await refused(delivery, "finish", (names, arguments))


async def take(delivery: Delivery) -> None:
    _, taken = await call(delivery.redis, "take", ([delivery.keys.frames("cam")], ["w", "2"]))
    assert [entry[:3] for entry in taken] == [[0, f"{RUN}-{seq}".encode(), 1] for seq in (0, 1)]


def commit(keys: Keys, status: str = "ok", of_run: str = RUN) -> Call:
    """Both frames in one batch; `status` and `of_run`, whose ledger is named, are those of the second."""
    names = [keys.results, keys.cameras, keys.active, keys.dead]
    arguments: list[Any] = ["w", "300000", "1000000", "1000000", "64", "60"]
    for seq, run, outcome in ((0, RUN, "ok"), (1, of_run, status)):
        names += [keys.frames("cam"), keys.ledger("cam", int(run)), keys.want("cam"), keys.pictures("cam")]
        arguments += ["cam", f"{RUN}-{seq}", outcome, "", b"record", "", ""]
    return names, arguments


async def test_commit_takes_a_whole_batch_or_nothing(delivery: Delivery) -> None:
    await take(delivery)
    for status in ("", "OK", "lost", "end", "missing"):
        told = await refused(delivery, "commit", commit(delivery.keys, status))
        assert "status of frame 2 must be ok, dropped, stale or failed" in told
    assert "ledger of frame 2" in await refused(delivery, "commit", commit(delivery.keys, of_run="5"))
    names, arguments = commit(delivery.keys)
    for count in range(len(arguments)):
        assert "are wanted" in await refused(delivery, "commit", (names, arguments[:count]))
    for count in range(len(names)):
        assert "are wanted" in await refused(delivery, "commit", (names[:count], arguments))
    arguments[1] = "soon"
    assert "argument 2 must be" in await refused(delivery, "commit", (names, arguments))
    assert await call(delivery.redis, "commit", commit(delivery.keys)) == [1, 1]


async def test_words_that_are_no_text_do_not_break_the_readers_of_the_ledger(
    redis: Redis, keys: Keys
) -> None:
    """A token of random bytes is a likely choice of a maker who was told to take a random one."""
    names, arguments = begin(keys)
    arguments[6], arguments[8] = b"\xff\x00\xfe", b"camera \xff"
    assert await call(redis, "begin", (names, arguments)) == b"ok"
    ledger = await read_ledger(redis, "cam", int(RUN), keys=keys)
    assert ledger is not None and ledger.source == "camera \ufffd"
    next_run = await Run.begin(redis, "cam", lane="live", keys=keys)
    assert next_run.number > int(RUN)
