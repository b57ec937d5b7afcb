"""Waiting for a condition instead of for a time: a test says what it waits for, and fails with those words.

Not for: product code.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

TIMEOUT_S = 20.0
"""Long, since machines that test may be busy; a condition that holds costs nothing of it."""

_PAUSE_S = 0.01


async def wait_until(
    predicate: Callable[[], Any | Awaitable[Any]], what: str, *, timeout: float = TIMEOUT_S
) -> Any:
    """Call `predicate` (plain or async) until its value is true and return that; fail after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s in vain for: {what}")
        await asyncio.sleep(_PAUSE_S)


def wait_until_sync(predicate: Callable[[], Any], what: str, *, timeout: float = TIMEOUT_S) -> Any:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s in vain for: {what}")
        time.sleep(_PAUSE_S)
