"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("the same every time", derandomize=True)


def pytest_configure(config: pytest.Config) -> None:
    """`make test` tries the same examples every time; `make test-all` looks for new ones."""
    if config.getoption("markexpr") == "not slow":
        settings.load_profile("the same every time")
