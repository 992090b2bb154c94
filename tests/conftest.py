"""Fixtures and plugins of all tests."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["aioagents.pytest_plugin", "pytester"]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the machine it runs on."""
    from aioagents.providers import all_providers  # noqa: PLC0415 - after coverage has begun to count

    prefixes = tuple(f"{name.upper().replace('-', '_')}_" for name in all_providers())
    for name in [each for each in os.environ if each.startswith(prefixes)]:
        monkeypatch.delenv(name)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that everybody can reach, so that only its own permissions apply."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
