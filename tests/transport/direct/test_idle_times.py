"""For how long a connection may be idle, by what is seen of a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.transport.direct.idle_times import UNKNOWN, IdleTimes


def test_where_nothing_is_known() -> None:
    """What may be repeated takes connections as old as they are kept; a start only such as are nearly new."""
    times = IdleTimes(75)
    assert (times.for_polls, times.for_starts) == (75, UNKNOWN)
    assert IdleTimes(0.1).for_starts == 0.05


def test_what_a_server_promises() -> None:
    """A start takes connections within half of the time that the server promises; the shortest promise holds."""
    times = IdleTimes(75)
    times.note_promise(20)
    assert (times.for_polls, times.for_starts) == (20, 10)
    times.note_promise(60)
    assert times.for_starts == 10
    times.note_promise(0)
    assert (times.for_polls, times.for_starts) == (0, 0)


def test_what_is_seen_to_be_kept() -> None:
    """A server that keeps connections for long may get starts over older ones."""
    times = IdleTimes(75)
    times.note_kept(0.3)
    assert times.for_starts == UNKNOWN
    times.note_kept(30)
    times.note_kept(8)
    assert times.for_starts == 15


def test_what_is_seen_to_be_closed() -> None:
    """Once a server closed an idle connection, a start takes none that is older than half of that."""
    times = IdleTimes(75)
    times.note_kept(30)
    times.note_closed(5)
    times.note_closed(9)
    assert times.for_starts == 2.5
    assert times.for_polls == 75


def test_one_close_is_forgiven() -> None:
    """A close with another cause is forgotten once twenty connections in a row have lived longer."""
    times = IdleTimes(75)
    times.note_closed(0.01)
    for _ in range(19):
        times.note_kept(3)
    assert times.for_starts == 0.005
    times.note_closed(4)  # begins the row anew
    for _ in range(19):
        times.note_kept(3)
    assert times.for_starts == 0.005
    times.note_kept(3)
    assert times.for_starts == 1.5


@given(
    st.lists(st.tuples(st.sampled_from(["promise", "kept", "closed"]), st.floats(0, 1000)), max_size=50),
    st.floats(0.001, 200),
)
def test_starts_are_never_bolder_than_polls(seen: list[tuple[str, float]], keep_alive: float) -> None:
    """Whatever is seen, a start takes no connection older than half of what a poll may take."""
    times = IdleTimes(keep_alive)
    for kind, seconds in seen:
        {"promise": times.note_promise, "kept": times.note_kept, "closed": times.note_closed}[kind](seconds)
        assert 0 <= times.for_starts <= times.for_polls / 2 <= keep_alive / 2


@pytest.mark.parametrize("kept", [1, 30])
def test_shows_itself(kept: float) -> None:
    """Its text says both bounds."""
    times = IdleTimes(75)
    times.note_kept(kept)
    assert repr(times) == f"<IdleTimes for polls 75 s, for starts {kept / 2:g} s>"
