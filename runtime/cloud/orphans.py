"""A child process that ends when its parent does, however the parent died."""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["PARENT_VARIABLE", "end_with_parent"]

PARENT_VARIABLE = "EDGECLOUD_PARENT"
"""Set by a pool for its processes: their standard input is a pipe that closes when the pool's process ends."""


def end_with_parent() -> None:
    """Where a pool started this process, kill its process group as soon as standard input closes."""
    if not os.environ.get(PARENT_VARIABLE):
        return

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would disturb an ordinary exit
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
