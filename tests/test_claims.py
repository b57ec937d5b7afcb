"""Which producer serves which camera: one each, shared fairly, and another one when it dies."""

from __future__ import annotations

from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.claims import announce, chosen, claim, owners, producers, release, withdraw
from kinestream.keys import Keys
from waiting import wait_until


async def test_a_camera_has_one_owner(redis: Redis, keys: Keys) -> None:
    assert await claim(redis, "one/1", ["a", "b"], keys=keys) == {"a", "b"}
    assert await claim(redis, "two/2", ["b", "c"], keys=keys) == {"c"}
    assert await claim(redis, "one/1", ["a", "b"], keys=keys) == {"a", "b"}
    assert await owners(redis, ["a", "b", "c", "d"], keys=keys) == {"a": "one/1", "b": "one/1", "c": "two/2"}
    await release(redis, "two/2", "a", keys=keys)  # not its own
    await release(redis, "one/1", "b", keys=keys)
    assert await owners(redis, ["a", "b"], keys=keys) == {"a": "one/1"}
    assert await claim(redis, "two/2", ["a", "b"], keys=keys) == {"b"}
    assert await claim(redis, "two/2", [], keys=keys) == set()


async def test_a_claim_that_is_not_renewed_runs_out(redis: Redis, keys: Keys) -> None:
    await claim(redis, "one/1", ["a"], keys=keys, lease_ms=30)

    async def taken() -> bool:
        return await claim(redis, "two/2", ["a"], keys=keys) == {"a"}

    await wait_until(taken, "the lease to run out")
    assert await claim(redis, "one/1", ["a"], keys=keys) == set()


async def test_producers_are_known_while_they_say_so(redis: Redis, keys: Keys) -> None:
    assert await announce(redis, "one/1", keys=keys) == 1
    assert await announce(redis, "two/2", keys=keys) == 2
    await redis.zadd(keys.producers, {"two/2": 1})  # long ago
    assert await producers(redis, keys=keys) == ["one/1"]
    await withdraw(redis, "one/1", keys=keys)
    assert await producers(redis, keys=keys) == []


def _choose(
    names: str,
    *,
    serving: str = "",
    taken: str = "",
    alive: int = 1,
    max_cameras: int | None = None,
    patient: bool = True,
    bound: str = "",
    elsewhere: str = "",
) -> str:
    specs = [
        CameraSpec(
            name=name, source="0", producer="me" if name in bound else "you" if name in elsewhere else None
        )
        for name in names
        if name not in elsewhere
    ]
    found = chosen(
        specs,
        name="me",
        serving=serving,
        owners=dict.fromkeys(taken + serving, "x"),
        alive=alive,
        max_cameras=max_cameras,
        patient=patient,
    )
    return "".join(found)


class TestChosen:
    def test_alone_it_takes_all(self) -> None:
        assert _choose("abcde") == "abcde"

    def test_beside_others_its_share(self) -> None:
        assert _choose("abcde", alive=2) == "abc"
        assert _choose("abcde", alive=2, taken="abc") == "de"
        assert _choose("abcde", alive=2, serving="de", taken="ab") == "c"
        assert _choose("abcde", alive=2, serving="cde") == ""

    def test_and_later_whatever_is_left(self) -> None:
        assert _choose("abcde", alive=2, serving="cde", patient=False) == "ab"

    def test_never_more_than_it_may(self) -> None:
        assert _choose("abcde", max_cameras=2) == "ab"
        assert _choose("abcde", max_cameras=2, serving="ab", patient=False) == ""
        assert _choose("abcde", max_cameras=1, serving="ab") == ""

    def test_those_that_are_bound_to_it_first_whatever_its_share(self) -> None:
        assert _choose("abcd", bound="cd", alive=4) == "cda"
        assert _choose("abcd", bound="d", max_cameras=1) == "d"
        assert _choose("abcd", bound="d", taken="d") == "abc"
