"""The children of one command that belong together: started in order, looked after, ended in reverse.

For commands that start others (demo, process). Not for: one child's life and output (see `processes.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

from kinestream.cli import REDIS_URL_VARIABLE
from kinestream.errors import KinestreamError, UsageError
from kinestream.processes import GRACE_S, Child, start_child

T = TypeVar("T")

_RESTARTS = 3
"""A worker that dies once has had bad luck; one that dies again and again has a reason, which must be
seen.
"""

_LOOK_S = 0.2


class Crew:
    """`kinestream` commands that share one Redis; a context manager that ends them all.

    `say` shows the command lines and the children's output; it is called from several threads.
    """

    def __init__(self, url: str, say: Callable[[str], object]) -> None:
        self._environment = {REDIS_URL_VARIABLE: url}
        self._say = say
        self._children: list[Child] = []
        self._restartable: dict[Child, Sequence[str]] = {}
        self._restarts = 0

    def start(self, arguments: Sequence[str], *, name: str, restart: bool = False) -> Child:
        """Start `kinestream ARGUMENTS...`; with `restart`, `look_after` starts it again if it dies."""
        child = start_child(arguments, name=name, say=self._say, environment=self._environment)
        self._children.append(child)
        if restart:
            self._restartable[child] = arguments
        return child

    def child(self, name: str) -> Child:
        """The child that runs under this name now."""
        return next(child for child in self._children if child.name == name)

    def look_after(self) -> None:
        """Restart what has died.

        Raises `UsageError` if a child refused its arguments, which it has explained itself, and
        `KinestreamError` if one fails that cannot be started again, or has been too often.
        """
        for child in list(self._children):
            code = child.exit_code
            if not code:
                continue
            if code == 2:
                raise UsageError(f"{child.name} could not be started (see its line above)")
            arguments = self._restartable.pop(child, None)
            if arguments is None or self._restarts == _RESTARTS:
                raise KinestreamError(f"{child.name} ended with exit code {code}")
            self._restarts += 1
            self._children.remove(child)
            self._say(f"{child.name} ended with exit code {code}, another one takes over")
            self.start(arguments, name=child.name, restart=True)

    async def until(self, task: asyncio.Task[T], stop: asyncio.Event) -> T:
        """Look after the children until `task` is done; raises `KeyboardInterrupt` if `stop` is set
        before.
        """
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S)
            if stop.is_set():
                raise KeyboardInterrupt
            self.look_after()
        return task.result()

    def stop(self) -> None:
        """Ask all to end at once, and wait for each, the last started first."""
        for child in reversed(self._children):
            child.terminate()
        for child in reversed(self._children):
            child.stop(GRACE_S)
        self._children.clear()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
