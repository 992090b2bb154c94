"""Thousands of small worlds around the core of the polling engine: no promise is broken in any."""

import pytest

from tests.simulation.cores.polling_world import PollingWorld

_CHUNKS = 8
_WORLDS = 100  # in each chunk


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_no_world_breaks_a_promise(chunk: int) -> None:
    """Whatever happens in whichever order: counts are right, bounds hold, no poll is early, and every wait ends."""
    for seed in range(chunk * _WORLDS, (chunk + 1) * _WORLDS):
        try:
            PollingWorld(seed).run()
        except Exception as error:
            error.add_note(f"world {seed} of tests/simulation/cores/polling_world.py")
            raise
