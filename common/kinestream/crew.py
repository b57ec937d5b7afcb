"""The children of one command that belong together: started in order, looked after, ended in reverse.

For commands that start others (demo, process). Not for: one child's life and output (see `processes.py`).
"""

from __future__ import annotations

import asyncio
import logging
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

_log = logging.getLogger(__name__)


class Crew:
    """`kinestream` commands that share one Redis; a context manager that ends them all.

    `say` shows the command lines and the children's output; it is called from several threads.
    """

    def __init__(self, url: str, say: Callable[[str], object]) -> None:
        self._environment = {REDIS_URL_VARIABLE: url}
        self._say = say
        self._children: list[Child] = []
        self._restartable: dict[Child, Sequence[str]] = {}
        self._may_fail: set[Child] = set()
        self._dismissed: set[Child] = set()
        self._restarts = 0

    def start(
        self, arguments: Sequence[str], *, name: str, restart: bool = False, may_fail: bool = False
    ) -> Child:
        """Start `kinestream ARGUMENTS...`; with `restart`, `look_after` starts it again if it dies.

        With `may_fail` the caller looks at its exit code 1 and decides what that means.
        """
        child = start_child(arguments, name=name, say=self._say, environment=self._environment)
        self._children.append(child)
        if restart:
            self._restartable[child] = arguments
        if may_fail:
            self._may_fail.add(child)
        return child

    def dismiss(self, child: Child) -> None:
        """Ask a child to end, once: a second time would mean at once. However it ends is well from now on."""
        if child not in self._dismissed:
            self._dismissed.add(child)
            child.terminate()

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
            if not code or child in self._dismissed or (code == 1 and child in self._may_fail):
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
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_LOOK_S)
                if stop.is_set():
                    raise KeyboardInterrupt
                self.look_after()
            return task.result()
        finally:
            task.cancel()

    def stop(self) -> None:
        """Ask all to end at once, and wait for each, the last started first."""
        for child in reversed(self._children):
            self.dismiss(child)
        for child in reversed(self._children):
            try:
                child.wait(GRACE_S)
            except TimeoutError:
                _log.warning("%s does not end and is killed", child.name)
                child.kill()
        self._children.clear()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
