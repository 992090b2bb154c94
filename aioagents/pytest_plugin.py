"""The pytest fixtures `aioagents_simulator` and `aioagents_environment`, for tests of users' programs.

The simulator runs in a thread, so that sync tests and async tests of any plugin can use it. Its settings come
from the fixture `aioagents_simulator_options`, which a test module, class or conftest may override:

    @pytest.fixture
    def aioagents_simulator_options():
        return {"speed": 600, "faults": FaultPlan.parse("reset=0.05")}

Nothing is imported before a test requests a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .simulator import Simulator


@pytest.fixture
def aioagents_simulator_options() -> Mapping[str, Any]:
    """Return the arguments of the `Simulator`: 60 times real time, no faults."""
    return {"speed": 60.0}


@pytest.fixture
def aioagents_simulator(aioagents_simulator_options: Mapping[str, Any]) -> Iterator[Simulator]:
    """Run the simulator on a free loopback port for this test. Sets no environment variable."""
    from .simulator import Simulator  # noqa: PLC0415 - imported only if a test needs it

    with Simulator(**aioagents_simulator_options).in_thread() as simulator:
        yield simulator


@pytest.fixture
def aioagents_environment(
    aioagents_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """Set the environment variables of all vendors so that they point at the simulator, and return them."""
    variables = aioagents_simulator.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
