"""What the parts of `kinestream up` say, line by line, with their names. Not for: logging in general
(`logs.py`).
"""

from __future__ import annotations

import json


def told(name: str, line: str, *, width: int, as_json: bool) -> str:
    """A part's line as it is shown: `name | line`, or as JSON with the part's name in it.

    `name` is empty for a line of our own, such as a command.
    """
    if not as_json:
        return f"{name:{width}} | {line}" if name else line
    event: object
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        event = {"message": line}
    return json.dumps({"part": name or "up"} | event)
