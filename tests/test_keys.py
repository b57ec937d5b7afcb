"""Key names: one hash tag, no two things under one name, and camera names that are safe everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from kinestream.errors import UsageError
from kinestream.keys import Keys, check_camera

cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)


def every_key(keys: Keys, camera: str, run: int) -> list[str]:
    """All the names that one camera and run lead to."""
    shared = [keys.cameras, keys.active, keys.results, keys.dead, keys.sweeper]
    shared += [keys.wanted, keys.finished, keys.producers]
    own = [keys.frames(camera), keys.want(camera), keys.pictures(camera), keys.ledger(camera, run)]
    own += [keys.claim(camera), keys.camera_state(camera), keys.watched(camera)]
    return shared + own


def test_the_documented_names() -> None:
    assert every_key(Keys(), "pitch-1", 17) == [
        "ks:{0}:cameras",
        "ks:{0}:active",
        "ks:{0}:results",
        "ks:{0}:dead",
        "ks:{0}:sweeper",
        "ks:{0}:wanted",
        "ks:{0}:finished",
        "ks:{0}:producers",
        "ks:{0}:frames:pitch-1",
        "ks:{0}:want:pitch-1",
        "ks:{0}:pictures:pitch-1",
        "ks:{0}:ledger:pitch-1:17",
        "ks:{0}:claim:pitch-1",
        "ks:{0}:camera:pitch-1",
        "ks:{0}:watched:pitch-1",
    ]


@given(cameras, st.integers(1, 2**53 - 1), st.sampled_from(["ks", "test-1", "a:b"]), st.integers(0, 99))
def test_all_keys_of_a_shard_share_a_cluster_slot(camera: str, run: int, prefix: str, shard: int) -> None:
    slots = {key_slot(key.encode()) for key in every_key(Keys(prefix, shard), camera, run)}
    assert slots == {key_slot(f"{{{shard}}}".encode())}


@given(st.lists(st.tuples(cameras, st.integers(1, 99)), unique=True, min_size=2, max_size=2))
def test_no_two_things_share_a_name(pairs: list[tuple[str, int]]) -> None:
    (camera, run), (other_camera, other_run) = pairs
    keys = Keys()
    one, other = every_key(keys, camera, run), every_key(keys, other_camera, other_run)
    assert len(set(one)) == len(one)
    assert keys.ledger(camera, run) not in other
    if camera != other_camera:
        assert not set(one[8:]) & set(other)


@given(cameras)
def test_names_in_the_alphabet_are_cameras(name: str) -> None:
    assert check_camera(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *["", " ", "-a", ".", "..", "_a", "a/b", "a\\b", "a:b", "a b", "a\n", "a\0", "{a}", "ä"],
        *["a\N{DEVANAGARI DIGIT ONE}", "x" * 65, "x" * 100_000],
    ],
)
def test_other_names_are_not(name: str) -> None:
    with pytest.raises(UsageError, match="a camera name is 1 to 64 of") as caught:
        check_camera(name)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_a_prefix_that_would_move_the_hash_tag_is_refused() -> None:
    for prefix in ("{a}", "", "a b", ":", "ks}"):
        with pytest.raises(UsageError, match="a key prefix is"):
            Keys(prefix)
    with pytest.raises(UsageError, match="a shard is 0 or more, got -1"):
        Keys(shard=-1)
