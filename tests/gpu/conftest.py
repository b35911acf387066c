"""Fixtures of several files here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gpu.fake_device import FakeDevice, fake_gpu


@pytest.fixture
def gpu() -> Iterator[FakeDevice]:
    """The only GPU is a fake one."""
    with fake_gpu() as device:
        yield device
