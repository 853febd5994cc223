"""BoTorch, loaded late, quietly, and without compiling anything."""

from __future__ import annotations

import warnings
from types import ModuleType


def load_botorch() -> ModuleType:
    """Import BoTorch, which takes a second; call it before any other import of BoTorch or GPyTorch.

    It warns of its own use of a deprecated part of torch, about which nobody here can do anything. And it would compile
    a C++ kernel on first use: that takes most of a minute, needs a compiler, gives other digits on other machines, and
    a process killed amid it leaves a lock file on which every later one waits for ever. There is no public switch.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        import botorch
        from botorch.acquisition.multi_objective import logei

    if hasattr(logei, "_load_attempted"):
        logei._load_attempted = True
    return botorch
