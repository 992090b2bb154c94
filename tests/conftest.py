"""Fixtures and plugins of all tests."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.fakes import OtherRequest

_TESTS = Path(__file__).parent
_REPETITIVE = (
    "batch/test_journal_damage",
    "batch/test_runner_memory",
    "benchmarks/",
    "conformance/test_hidden_secrets",
    "simulation/cores/",
    "simulation/test_worlds",
    "system/",
)

pytest_plugins = ["aioagents.pytest_plugin", "pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options to run tests as where the installed aiohttp is not the expected one, and on another event loop."""
    parser.addoption("--sessions", action="store_true", help="send small requests over aiohttp's sessions")
    parser.addoption("--uvloop", action="store_true", help="run on uvloop")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count no coverage in tests that repeat what others cover, thousands of times: it doubles their time."""
    if getattr(config.option, "no_cov", True):
        return  # pytest-cov fails at its own marker where it counts nothing
    for item in items:
        if str(item.path.relative_to(_TESTS)).startswith(_REPETITIVE):
            item.add_marker(pytest.mark.no_cover)


def pytest_configure(config: pytest.Config) -> None:
    """Run on uvloop where that is asked for."""
    if config.getoption("--uvloop"):
        import uvloop  # noqa: PLC0415 - not everywhere

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


@pytest.fixture(autouse=True)
def _sessions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send over sessions where that is asked for."""
    if request.config.getoption("--sessions"):
        monkeypatch.setattr(aiohttp, "ClientRequest", OtherRequest)


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
