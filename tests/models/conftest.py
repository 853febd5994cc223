"""Spaces that several tests share."""

import os
from pathlib import Path

import pytest

from models.spaces import build_space
from tests.models.prototypes import ELEMENTS, L2_1, XA


@pytest.fixture(scope="session")
def heuslers():
    """The space of the main campaign: 39,270 full Heuslers."""
    return build_space({"kind": "prototype", "prototypes": [L2_1, XA], "elements": {"*": ELEMENTS}})


@pytest.fixture(scope="session")
def athanor_data():
    """Folder of the shared data; needed under CI, optional elsewhere."""
    folder = os.environ.get("ATHANOR_DATA")
    if folder and Path(folder).is_dir():
        return Path(folder)
    if os.environ.get("CI") == "true":
        pytest.fail("ATHANOR_DATA must point at the shared data under CI")
    pytest.skip("ATHANOR_DATA is not set: no shared data to read")
