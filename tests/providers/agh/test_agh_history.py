"""Paging through the history of runs: no run twice, none left out, and an end."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioagents.providers.agh import AutomationRun
from aioagents.providers.agh.history import Pages
from aioagents.providers.agh.times import order_of

_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def _text(second: float, nanoseconds: int = 0) -> str:
    """Write a moment as Go does: without the zeros at the end."""
    moment = _NOON + timedelta(seconds=second)
    digits = f"{moment.microsecond:06}{nanoseconds:03}".rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if digits else ''}{digits}Z"


def _run(number: int, second: float, nanoseconds: int = 0) -> AutomationRun:
    return AutomationRun(
        id=f"run-{number:04}", status="completed", started_at_text=_text(second, nanoseconds)
    )


class Server:
    """Answers as the runtime does: newest first, then by id from the last; both ends of `until` inclusive."""

    def __init__(self, runs: Sequence[AutomationRun], *, heeds_until: bool = True) -> None:
        self.runs = list(runs)
        self.asked: list[tuple[int, str]] = []
        self.heeds_until = heeds_until

    def page(self, limit: int, until: str) -> list[AutomationRun]:
        """Return what one request is answered with."""
        self.asked.append((limit, until))
        found = [
            run
            for run in self.runs
            if not (until and self.heeds_until) or order_of(run.started_at_text) <= order_of(until)
        ]
        found.sort(key=lambda run: (order_of(run.started_at_text), run.id), reverse=True)
        return found[:limit]

    def walk(self, pages: Pages, between: Callable[[], None] = lambda: None) -> list[str]:
        """Read all pages, and return the ids in the order in which they came."""
        given_ids: list[str] = []
        while not pages.is_over:
            assert len(self.asked) < 500, "the walk does not end"
            given_ids += [run.id for run in pages.take(self.page(pages.size, pages.until))]
            between()
        return given_ids


def _ids(runs: Sequence[AutomationRun]) -> list[str]:
    ordered = sorted(runs, key=lambda run: (order_of(run.started_at_text), run.id), reverse=True)
    return [run.id for run in ordered]


def test_pages_overlap_in_the_run_they_end_with() -> None:
    """Each page is asked for from the start of the oldest run seen, which comes again and is dropped."""
    runs = [_run(number, number) for number in range(7)]
    server = Server(runs)
    assert server.walk(Pages(3)) == _ids(runs)
    assert server.asked == [(3, ""), (3, _text(4)), (3, _text(2)), (3, _text(0))]


def test_until_goes_back_as_it_came() -> None:
    """The bound is the server's own text, nanoseconds included: truncated to microseconds it would exclude runs."""
    runs = [_run(number, 0.000001, number) for number in range(9)]
    server = Server(runs)
    assert server.walk(Pages(2)) == _ids(runs)
    assert server.asked[1] == (2, "2026-01-05T12:00:00.000001007Z")


@pytest.mark.parametrize(("runs", "requests"), [(0, 1), (1, 1), (9, 1), (10, 2), (11, 2), (18, 2), (19, 3)])
def test_short_page_is_the_last(runs: int, requests: int) -> None:
    """A page that is not full is the last; one that is exactly full costs one more request."""
    server = Server([_run(number, number) for number in range(runs)])
    assert len(server.walk(Pages(10))) == runs
    assert len(server.asked) == requests


def test_more_runs_at_one_instant_than_a_page_holds() -> None:
    """After a page of one instant the next is doubled until it gets past; then pages have their usual size."""
    before = [_run(number, 50 + number) for number in range(3)]
    together = [_run(100 + number, 40) for number in range(20)]
    after = [_run(200 + number, number) for number in range(30)]
    server = Server([*before, *together, *after])
    assert server.walk(Pages(4)) == _ids(server.runs)
    sizes = [size for size, _ in server.asked]
    assert sizes[:5] == [4, 4, 8, 16, 32]
    assert set(sizes[5:]) == {4}


def test_page_of_one() -> None:
    """Paging also ends with pages of one run."""
    runs = [_run(number, number // 2) for number in range(8)]
    assert Server(runs).walk(Pages(1)) == _ids(runs)


def test_runs_that_begin_between_pages() -> None:
    """Runs that begin meanwhile are newer than what is still asked for: they do not come, and no run is left out."""
    runs = [_run(number, number) for number in range(20)]
    server = Server(runs)

    def begin() -> None:
        server.runs.append(_run(1000 + len(server.asked), 100 + len(server.asked)))

    assert server.walk(Pages(5), begin) == _ids(runs)


def test_run_that_comes_late_into_the_past() -> None:
    """A run that is written late, at an instant still asked for, comes once."""
    runs = [_run(number, number) for number in range(6)]
    server = Server(runs)
    late = _run(999, 3)

    def write_late() -> None:
        if late not in server.runs:
            server.runs.append(late)

    assert server.walk(Pages(3), write_late) == [
        "run-0005",
        "run-0004",
        "run-0003",
        "run-0999",
        "run-0002",
        "run-0001",
        "run-0000",
    ]


def test_first_bound_of_the_callers() -> None:
    """The first page is asked for with the caller's own bound, the others with the oldest run's."""
    server = Server([_run(number, number) for number in range(10)])
    assert server.walk(Pages(2, until="2026-01-05T13:00:03+01:00"))[0] == "run-0003"
    assert server.asked[:2] == [(2, "2026-01-05T13:00:03+01:00"), (2, _text(2))]


def test_server_that_does_not_heed_the_bound() -> None:
    """With a server that repeats a page for ever, paging ends, and no run comes twice."""
    server = Server([_run(number, number) for number in range(10)], heeds_until=False)
    assert server.walk(Pages(4)) == ["run-0009", "run-0008", "run-0007", "run-0006"]
    assert len(server.asked) == 2


def test_server_that_does_not_heed_the_limit() -> None:
    """A server that returns everything at once gets one more request, for the last instant."""
    runs = [_run(number, number) for number in range(10)]
    pages = Pages(4)
    assert [run.id for run in pages.take(Server(runs).page(99, ""))] == _ids(runs)
    assert not pages.is_over
    assert pages.take(Server(runs).page(99, pages.until)) == []
    assert pages.is_over


def test_runs_without_a_start() -> None:
    """Runs without any start come, and paging ends, since there is no next bound."""
    runs = [AutomationRun(id=f"r{number}", status="scheduled") for number in range(3)]
    pages = Pages(3)
    assert pages.take(runs) == runs
    assert pages.is_over


def test_start_that_is_missing_at_the_end() -> None:
    """Where the last runs of a page lack a start, the oldest that is known is the bound."""
    pages = Pages(3)
    pages.take([_run(2, 2), _run(1, 1), AutomationRun(id="r", status="scheduled")])
    assert (pages.is_over, pages.until) == (False, _text(1))


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2])), max_size=40),
    st.integers(1, 12),
    st.integers(0, 3),
)
@example([(0, 0)] * 40, 1, 0)
@example([(1, 1)] * 16 + [(0, 0)] * 16, 4, 1)
def test_every_run_comes_once(starts: list[tuple[int, int]], size: int, arriving: int) -> None:
    """Whatever instants runs share, each that was there at first comes once, in order, for any page size."""
    runs = [_run(number, *start) for number, start in enumerate(starts)]
    server = Server(runs)
    arrived = iter(range(10**6))

    def arrive() -> None:
        server.runs += [_run(5000 + number, 100 + number) for number in islice(arrived, arriving)]

    assert server.walk(Pages(size), arrive) == _ids(runs)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 9))
def test_memory_is_bounded(starts: list[int], size: int) -> None:
    """Never more than the ids of the last page and its instant are remembered."""
    server = Server([_run(number, second) for number, second in enumerate(starts)])
    pages = Pages(size)
    most = max(map(starts.count, starts))
    while not pages.is_over:
        pages.take(server.page(pages.size, pages.until))
        assert len(pages.seen) <= max(2 * size, 4 * most) + size


def test_walk_costs_few_requests() -> None:
    """Ten thousand runs at one instant cost as many pages as it takes to double up to them."""
    runs: list[Any] = [_run(number, 0) for number in range(10_000)]
    server = Server(runs)
    assert len(server.walk(Pages(200))) == 10_000
    assert len(server.asked) == 7
