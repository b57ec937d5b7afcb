"""docs/protocol.md says what the code does: fields, defaults, limits, key names, scripts."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from kinestream import fields as field_checks
from kinestream import messages, packing
from kinestream.delivery import SCRIPTS, Limits, script_source
from kinestream.keys import Keys
from kinestream.messages import CODECS, LANES, STATUSES, VERSION, Frame, Person, PoseResult
from kinestream.skeletons import SKELETONS

PAGE = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()


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
    real = [keys.cameras, keys.active, keys.results, keys.dead, keys.sweeper]
    real += [keys.frames("<camera>"), keys.want("<camera>"), keys.pictures("<camera>")]
    real += [keys.ledger("<camera>", "<run>")]  # type: ignore[arg-type]
    assert [row[0] for row in rows("Keys", "key")] == real


def test_each_script_is_shown_with_the_words_of_its_own_file() -> None:
    shown = dict(re.findall(r"^### `(\w+)`\n\n```text\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL))
    assert sorted(shown) == sorted(SCRIPTS)
    for name, words in shown.items():
        comment = "\n".join(f"-- {line}" for line in words.splitlines())
        assert comment + "\n\n" in script_source(name), f"docs/protocol.md and {name}.lua differ"
