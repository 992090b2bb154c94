"""Thousands of small worlds around the core of a batch: no promise is broken in any."""

import pytest

from tests.simulation.cores.batch_world import World

_CHUNKS = 16
_WORLDS = 375  # in each chunk


@pytest.mark.parametrize("chunk", range(_CHUNKS))
def test_no_world_breaks_a_promise(chunk: int) -> None:
    """Whatever happens in whichever order, each row is started once, and nothing that began is lost sight of."""
    for seed in range(chunk * _WORLDS, (chunk + 1) * _WORLDS):
        try:
            World(seed).run()
        except Exception as error:
            error.add_note(f"world {seed} of tests/simulation/cores/batch_world.py")
            raise
