"""A record as one line of JSON, as `watch` and `record` write it, and back.

Not for: what the fields mean (see `kinestream.messages`).
"""

from __future__ import annotations

import json

from kinestream.errors import MessageError
from kinestream.messages import PoseResult


def to_line(result: PoseResult) -> str:
    """The record in ASCII, with a line feed; `committed_ms` and `cursor` are added, so that reading can go on
    there.
    """
    plain = {**result.as_dict(), "committed_ms": result.committed_ms, "cursor": result.cursor}
    return json.dumps(plain) + "\n"


def from_line(line: str | bytes) -> PoseResult:
    """Read what `to_line` gave, or any line with the record's own fields.

    Raises `MessageError` for anything else, `UnsupportedVersion` for a record of a newer Kinestream.
    """
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"no JSON: {error}") from error
    return PoseResult.from_dict(plain)
