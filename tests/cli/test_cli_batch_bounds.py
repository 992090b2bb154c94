"""`batch FILE`: the rate of starts and the number of rows in flight, as the vendor sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from aioagents.contract.fake import Answer, Call, Route, RunPlan
from aioagents.providers.leena.fake.server import FakeLeena
from tests.cli.conftest import SCRIPTS
from tests.cli.test_cli_batch import events, write_rows

_SPEED = 10.0


class _Recording(FakeLeena):
    """A fake server that records the time of each start, in real seconds."""

    def __init__(self) -> None:
        super().__init__(RunPlan(scripts=SCRIPTS))
        self.started_at: list[float] = []

    @property
    def routes(self) -> list[Route]:
        """Return the endpoints, with one that records starts."""
        return [
            evolve(route, handler=self._recording(route)) if route.call == "aop.execute" else route
            for route in super().routes
        ]

    def _recording(self, route: Route) -> Any:
        def handle(call: Call) -> Answer:
            self.started_at.append(call.now / call.speed)
            return route.handler(call)

        return handle


@pytest.fixture
def speed() -> float:
    """Return the simulated seconds per real second."""
    return _SPEED


@pytest.fixture
def fake() -> _Recording:
    """Return a simulated Leena AI that records starts."""
    return _Recording()


def _spans(moments: list[float], count: int) -> Iterator[float]:
    """Return the seconds between each start and the one `count - 1` later."""
    return (later - earlier for earlier, later in zip(moments, moments[count - 1 :], strict=False))


def test_rate(cli: Any, fake: _Recording, tmp_path: Path) -> None:
    """With --rate 20 starts come a twentieth of a second apart, though all rows may be in flight at once."""
    path = write_rows(tmp_path, {str(n): "endless" for n in range(16)})
    done = cli("batch", str(path), "--vendor", "leena", "--rate", "20", "--timeout", "0.1", "--json")
    assert done.documents[-1]["rows"] == {"started": 16}
    assert dict(fake.starts_by_key) == {str(n): 1 for n in range(16)}
    moments = fake.started_at
    assert moments[-1] - moments[0] > 0.6  # of 0.75: the first one may have come late
    assert min(_spans(moments, 6)) > 0.1  # of 0.25, and in the middle as well


def test_in_flight(cli: Any, fake: _Recording, tmp_path: Path) -> None:
    """With --in-flight=4 there are four runs at a time, and a fifth begins only when one of them has ended."""
    path = write_rows(tmp_path, {str(n): "endless" for n in range(12)})
    done = cli("batch", str(path), "--vendor", "leena", "--in-flight", "4", "--timeout", "0.3", "--json")
    assert [row["error"]["type"] for row in events(done.documents, "row")] == ["WaitTimeout"] * 12
    moments = fake.started_at
    assert len(moments) == 12
    assert min(_spans(moments, 5)) > 0.2
    assert moments[3] - moments[0] < 0.2
