"""Run a command that the kernel ends when the process that started it ends, kill -9 included (Linux).

Run as a file, before the command itself: `python -I -S tether.py PARENT_PID COMMAND...`. It asks for the
signal and then becomes the command, so the process id stays. A step of its own, since code between fork and
exec (`preexec_fn`) is unsafe in a process with threads. Elsewhere than on Linux the command simply runs.

Not for: being imported; see `processes.spawn`.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the signal was asked for, and no signal will come
            sys.exit(1)
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
