"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("new every time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("the same every time", settings.get_profile("new every time"), derandomize=True)


def pytest_configure(config: pytest.Config) -> None:
    """`make test` tries the same examples every time; `make test-all` looks for new ones."""
    same = config.getoption("markexpr") == "not slow"
    settings.load_profile("the same every time" if same else "new every time")
