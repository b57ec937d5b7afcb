"""What `--model` shall mean for commands that start workers: settled once, before the first of them starts.

So all workers take the same model, and a download is shown where the user looks. It is `kinestream models
choose` that knows the names, as a child: commands here import nothing of the workers. Not for: the names.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from kinestream.errors import UsageError
from kinestream.processes import GRACE_S, spawn


def settled_model(model: str, mode: str | None = None) -> str:
    """Return a name or path for `worker --model`, its file downloaded if need be; paths are left to workers.

    A child, whose messages and progress go to stderr, does it. Raises `UsageError` if it cannot be had; the
    child has said why. Call it in the main thread.
    """
    if os.sep in model or Path(model).suffix:
        return model
    in_mode = ["--mode", mode] if mode else []
    command = [sys.executable, "-P", "-m", "kinestream", "models", "choose", *in_mode, "--", model]
    with spawn(command, stdout=subprocess.PIPE) as child:
        try:
            printed, _ = child.communicate()
        except BaseException:
            child.send_signal(signal.SIGINT)  # passed on as it is, so that the terminal gets its cursor back
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
            child.kill()
            raise
    if child.returncode:
        raise UsageError(f"there is no model {model} to work with (see the line above)")
    return printed.decode().strip()
