"""Fixtures and plugins of all tests."""

import os

import pytest

pytest_plugins = ["aioagents.pytest_plugin", "pytester"]

_PREFIXES = ("LEENA_", "LEAP_", "AGH_", "AGENT_PLATFORM_")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the machine it runs on."""
    for name in [each for each in os.environ if each.startswith(_PREFIXES)]:
        monkeypatch.delenv(name)
