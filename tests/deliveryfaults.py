"""What can happen to one script call, and what a step answers then: for comparing the product with the model.

Not for: which steps there are (see `test_delivery_property.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.exceptions import ConnectionError, OutOfMemoryError

from kinestream.delivery import Scripts
from kinestream.errors import Fenced, RunLost
from kinestream.held import Held

KINDS = ["", "", "", "request lost", "reply lost", "done twice"]
DIES_IN_BETWEEN = "dies in between"
"""The caller dies after it was told `moved`, instead of trying again."""


class Faults:
    """Stands between the product and the server, and sees to what happens to the next script that is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.next = ""
        self.race: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._moved = 0
        self._real = Scripts.call
        monkeypatch.setattr(Scripts, "call", lambda scripts, *what: self._call(scripts, *what))

    async def _call(self, scripts: Scripts, *what: Any) -> Any:
        fault, self.next = self.next, ""
        race, self.race = self.race, None
        if race:  # somebody else is faster
            await race()
        if fault == "request lost":
            raise ConnectionError
        reply = await self._real(scripts, *what)
        if reply == b"moved" or (isinstance(reply, list) and reply[:1] == [b"moved"]):
            if fault == DIES_IN_BETWEEN:
                raise ConnectionError
            self._moved += 1
            assert self._moved < 5, f"told to try again for ever: {reply}, {what}"
            self.next = fault  # it is for the call that follows
            return reply
        self._moved = 0
        if fault == "reply lost":
            raise ConnectionError
        return await self._real(scripts, *what) if fault == "done twice" else reply


def modelled(step: Callable[[], Any], fault: str) -> Any:
    """What a step answers, or how it is refused, if this fault happens to it; does the step in the model."""
    if fault == "request lost":
        return ConnectionError
    answer = _answer_or_refusal(step)
    if answer is OutOfMemoryError:  # the server's own error comes before anything can happen to the reply
        return answer
    if fault == "reply lost":
        return ConnectionError
    return _answer_or_refusal(step) if fault == "done twice" else answer


async def done(step: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    """What a real step answered, or how it was refused: as the model says it, and as it came."""
    try:
        answer = await step
    except (Fenced, RunLost, OutOfMemoryError, ConnectionError) as error:
        return _refusal(error), error
    if isinstance(answer, list) and answer and isinstance(answer[0], Held):
        return [(held.camera, (held.run, held.seq), held.deliveries) for held in answer], answer
    return answer, answer


def _answer_or_refusal(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except (Fenced, RunLost, OutOfMemoryError) as error:
        return _refusal(error)


def _refusal(error: Exception) -> Any:
    return (RunLost, error.known) if isinstance(error, RunLost) else type(error)
