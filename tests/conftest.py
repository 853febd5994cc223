"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No deadlines: a loaded machine is no wrong answer.
settings.register_profile("new ones", deadline=None)
settings.register_profile("the same every time", derandomize=True, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """`make test` tries the same examples every time; `make test-all` looks for new ones."""
    settings.load_profile("the same every time" if config.getoption("markexpr") == "not slow" else "new ones")
