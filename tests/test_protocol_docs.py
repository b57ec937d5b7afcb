"""docs/protocol.md says what the code does: fields, defaults, limits, key names, scripts, bytes, programs.

That the programs which it shows work is for `test_other_makers.py`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import msgpack
import pytest

from kinestream import fields as field_checks
from kinestream import messages, packing
from kinestream.delivery import SCRIPTS, Limits, script_source
from kinestream.keys import Keys
from kinestream.messages import CODECS, LANES, STATUSES, VERSION, Frame, Person, PoseResult
from kinestream.redis import connect
from kinestream.skeletons import SKELETONS
from servers import Server

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "protocol.md").read_text()


def section(title: str) -> str:
    """What stands under one heading, up to the next."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/protocol.md has no section {title}"
    return found[1]


def rows(title: str, first_column: str) -> list[list[str]]:
    """The table under a heading whose first column has this name, without its head, code marks taken off."""
    table = section(title).split(f"| {first_column} |", 1)[1].split("\n\n")[0]
    return [
        [_without_marks(cell) for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]
    ]


def _without_marks(cell: str) -> str:
    """`a` and *a* as a; a longer text stays."""
    whole = re.fullmatch(r"[`*]([^`*]*)[`*]", cell.strip())
    return whole[1] if whole else cell.strip()


@pytest.mark.parametrize("message", [Frame, PoseResult, Person])
def test_every_field_stands_in_its_table_in_order_with_its_default(message: type[Any]) -> None:
    expected = [] if message is Person else [["version", "required"]]
    for declared in fields(message):
        default = None
        if declared.default is not MISSING:
            default = declared.default
        elif declared.default_factory is not MISSING:
            default = declared.default_factory()
        if declared.compare:
            required = declared.default is MISSING and declared.default_factory is MISSING
            expected.append(
                [declared.name, "required" if required else json.dumps(default).replace("0.0", "0")]
            )
    assert [[row[0], row[2]] for row in rows(message.__name__, "field")] == expected


def test_every_field_that_may_be_null_says_so() -> None:
    for message in (Frame, PoseResult):
        optional = {
            declared.name for declared in fields(message) if declared.default is None and declared.compare
        }
        assert {row[0] for row in rows(message.__name__, "field") if "null" in row[1]} == optional


def test_every_status_codec_and_lane_is_explained() -> None:
    assert [row[0] for row in rows("PoseResult", "status")] == [*STATUSES]
    by_name = {row[0]: row[3] for row in rows("Frame", "field")}
    assert re.findall("`([a-z]+)`", by_name["codec"]) == [*CODECS]
    assert re.findall("`([a-z-]+)`", by_name["lane"]) == [*LANES]
    assert by_name["version"] == str(VERSION)
    assert all(f"`{name}`" in section("PoseResult") for name in SKELETONS)


def test_the_keypoints_of_every_skeleton() -> None:
    stated = [(row[0], tuple(row[1].split(", "))) for row in rows("Person", "skeleton")]
    assert stated == [(skeleton.name, skeleton.names) for skeleton in SKELETONS.values()]


def test_the_limits_of_messages() -> None:
    stated = {row[0]: int(row[1]) for row in rows("Limits", "limit")}
    modules = (messages, field_checks, packing)
    real = {
        name: value for module in modules for name, value in vars(module).items() if name.startswith("MAX_")
    }
    assert stated == real


def test_the_limits_of_scripts() -> None:
    stated = {row[0]: int(row[1]) for row in rows("Scripts", "limit")}
    assert stated == {declared.name: declared.default for declared in fields(Limits)}


def test_the_key_names() -> None:
    keys = Keys()
    real = [keys.cameras, keys.active, keys.waiting, keys.seen, keys.results]
    real += [keys.dead, keys.sweeper]
    real += [keys.workers, keys.worker("<name>")]
    real += [keys.wanted, keys.finished, keys.producers]
    real += [keys.claim("<camera>"), keys.camera_state("<camera>"), keys.watched("<camera>")]
    real += [keys.frames("<camera>"), keys.want("<camera>"), keys.pictures("<camera>")]
    real += [keys.ledger("<camera>", "<run>")]  # type: ignore[arg-type]
    assert [row[0] for row in rows("Keys", "key")] == real


def test_each_script_is_shown_with_the_words_of_its_own_file() -> None:
    shown = dict(re.findall(r"^### `(\w+)`\n\n```text\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL))
    assert sorted(shown) == sorted(SCRIPTS)
    for name, words in shown.items():
        comment = "\n".join(f"-- {line}" for line in words.splitlines())
        assert comment + "\n\n" in script_source(name), f"docs/protocol.md and {name}.lua differ"


def messages_in_bytes() -> list[tuple[bytes, list[str]]]:
    """Each message that the page shows in hex, and what it says beside the bytes."""
    shown = []
    for block in re.findall(r"```text\n(.*?)\n```", section("In bytes"), re.DOTALL):
        lines = [re.split(r" {2,}", line, maxsplit=1) for line in block.splitlines()]
        shown.append((bytes.fromhex("".join(line[0] for line in lines)), [line[1] for line in lines]))
    return shown


def test_the_bytes_are_these_messages() -> None:
    (frame, _), *results = messages_in_bytes()
    unpacked = Frame.unpack(frame)
    assert (unpacked.codec, unpacked.data) == ("raw", bytes([255, 0, 0, 0, 0, 255]))
    dropped, ok, end = (PoseResult.unpack(packed) for packed, _ in results)
    assert (dropped.status, dropped.cause, ok.status, end.status, end.seq) == (
        "dropped",
        "no-room",
        "ok",
        "end",
        1,
    )
    assert [(found.camera, found.run, found.captured_us) for found in (dropped, ok)] == [
        (unpacked.camera, unpacked.run, unpacked.captured_us)
    ] * 2
    assert len(ok.people) == 1


def beside(value: Any) -> list[str]:
    """What the page writes beside the bytes of a map, or of an item in a list of lists."""
    if not isinstance(value, dict):
        return [json.dumps(value)]
    lines = [f"a map of {len(value)}"]
    for name, item in value.items():
        if isinstance(item, list) and isinstance(item[0], list | dict):
            lines += [f"{name}: a list of {len(item)}", *(line for part in item for line in beside(part))]
        else:
            lines.append(f"{name}: {f'{len(item)} bytes' if isinstance(item, bytes) else json.dumps(item)}")
    return lines


def test_what_stands_beside_the_bytes_is_what_they_are() -> None:
    for packed, lines in messages_in_bytes():
        assert lines == beside(msgpack.unpackb(packed))


@pytest.mark.parametrize("program", ["producer.mjs", "consumer.mjs"])
def test_the_programs_are_the_files(program: str) -> None:
    title = "A " + program.removesuffix(".mjs")
    (shown,) = re.findall(r"```javascript\n(.*?)```", section(title), re.DOTALL)
    assert shown == (DOCS / "examples" / program).read_text()


async def test_the_calls_reply_what_is_shown(own_server: Callable[..., Server]) -> None:
    """In bytes as they stand on the page, with a client that knows nothing of scripts."""
    (frame, _), (dropped, _), _, (end, _) = messages_in_bytes()
    given = {"<Frame>": frame, "<if_dropped>": dropped, "<end>": end}
    block = re.search(r"```text\n(EVALSHA.*?)```", section("Calling a script"), re.DOTALL)
    assert block
    calls = re.findall(r"EVALSHA <(\w+)> (.*?)\n    (.*)\n(.*)", block[1])
    assert [call[0] for call in calls] == ["begin", "offer", "finish"]
    async with connect(own_server().url) as redis:
        for name, keys, arguments, expected in calls:
            digest = await redis.script_load(script_source(name))
            words = [*shlex.split(keys), *shlex.split(arguments)]
            reply = await redis.execute_command("EVALSHA", digest, *(given.get(word, word) for word in words))
            told = [reply] if isinstance(reply, bytes) else reply
            assert [
                str(word.decode() if isinstance(word, bytes) else word) for word in told
            ] == expected.split()
        assert [entry[b"result"] for _, entry in await redis.xrange(Keys().results)] == [end]


def test_every_reply_to_a_producer_is_explained() -> None:
    told = {(name, row[0]) for row in rows("A producer", "reply") for name in re.findall("[a-z]+", row[1])}
    for name in ("begin", "offer", "finish"):
        (replies,) = re.findall(
            r"^Reply (.*?)(?=\n[A-Z]|\Z)", section(f"`{name}`"), re.DOTALL | re.MULTILINE
        )[:1]
        for reply in re.findall(r"'([a-z]+)'", replies):
            assert (name, reply) in told or ("all", reply) in told, f"{reply} of {name}"
