"""A cursor's text is read back as it was, and no other text is taken for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.cursor import Cursor, EntryId, Position
from kinestream.errors import UsageError

_number = st.integers(0, 2**64 - 1)
_ids = st.builds(EntryId, _number, _number)
_cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
_positions = st.dictionaries(
    _cameras, st.builds(Position, _number, st.none() | _number, st.booleans()), max_size=5
)
_cursors = st.one_of(
    st.builds(Cursor, following=_ids),
    st.builds(
        Cursor,
        following=_ids,
        ordered=st.just(True),
        held=st.booleans(),
        untold=_number,
        since_ms=_number,
        positions=_positions,
    ),
)


@settings(deadline=None)
@given(_cursors)
def test_cursors_survive_being_text(cursor: Cursor) -> None:
    text = str(cursor)
    assert Cursor.parse(text) == cursor
    assert re.fullmatch(r"[A-Za-z0-9_.~-]+", text)  # unreserved characters of a URL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "then",
        "c1",
        "c1~1",
        "c1~1~2~3",
        "c1~1~-2",
        "c1~1~+2",
        "c1~1~٣",
        "c1~1~18446744073709551616",
        "c2~1~2",
        "o1~1~2~0~3",
        "o1~1~2~3~4~a~1~1",
        "o1~1~2~0~3~4~a~1",
        "o1~1~2~0~3~4~a b~1~2",
        "o1~1~2~0~3~4~a~~2",
        "o1~1~2~0~3~4~a~1~x",
        "o1~1~2~0~3~4~a~1~1--",
        "1760000000000-12",
    ],
)
def test_a_broken_cursor_is_a_usage_error_of_one_line(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"\Aa start is now, beginning or the cursor of a record, got '.*'\Z"
    ):
        Cursor.parse(text)


@settings(deadline=None)
@given(st.text(alphabet="oc1~-a9. ", max_size=30) | st.text())
def test_any_text_is_a_cursor_or_a_usage_error(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert Cursor.parse(str(cursor)) == cursor


@settings(deadline=None)
@given(_ids)
def test_the_preceding_id_is_the_largest_one_below(entry: EntryId) -> None:
    if entry == EntryId(0, 0):
        assert entry.preceding == entry
    else:
        assert entry.preceding < entry
        assert entry.preceding.following == entry or entry.number == 0
        assert EntryId.parse(str(entry).encode()) == entry
