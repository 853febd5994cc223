"""What wakes a host process from its poll."""

from __future__ import annotations

import contextlib
import os


class Bell:
    """Rung by any thread or signal, heard by the one that polls ``descriptor``."""

    def __init__(self) -> None:
        self.descriptor, self._rope = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._rope, False)

    def ring(self) -> None:
        """Wake the listener; more than one ring before it wakes is one."""
        with contextlib.suppress(BlockingIOError):  # it has been rung often enough
            os.write(self._rope, b".")

    def hush(self) -> None:
        """Begin to listen for the next ring."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)
