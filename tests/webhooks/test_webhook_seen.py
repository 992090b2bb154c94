"""Ids of deliveries that came before."""

from hypothesis import given
from hypothesis import strategies as st

from aioagents.webhooks import SeenIds
from aioagents.webhooks.seen import SeenDeliveries


def test_an_id_is_new_once() -> None:
    """The second delivery with an id is recognized as a repetition; other ids are new."""
    seen = SeenIds()
    assert seen.add("a", 0.0)
    assert not seen.add("a", 0.0)
    assert seen.add("b", 0.0)
    assert len(seen) == 2


def test_ids_are_forgotten_in_time() -> None:
    """An id is remembered for its seconds, counted from its first delivery, and is then new again."""
    seen = SeenIds(seconds=300.0)
    assert seen.add("a", 1000.0)
    assert not seen.add("a", 1299.9)
    assert seen.add("a", 1300.0)
    assert not seen.add("a", 1599.9)
    assert len(seen) == 1


def test_ids_are_bounded() -> None:
    """The latest so many are remembered: a flood costs memory for no more."""
    seen = SeenIds(most=3)
    for n in range(10):
        assert seen.add(str(n), float(n))
    assert len(seen) == 3
    assert [seen.add(str(n), 10.0) for n in (9, 8, 7)] == [False] * 3
    assert seen.add("0", 10.0)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 4)), max_size=60),
    st.integers(1, 8),
    st.integers(1, 6),
)
def test_as_a_naive_store(arrivals: list[tuple[str, int]], seconds: int, most: int) -> None:
    """It answers as a list that is searched from end to end would."""
    seen = SeenIds(seconds=float(seconds), most=most)
    naive: list[tuple[str, int]] = []
    now = 0
    for key, gap in arrivals:
        now += gap
        naive = [(each, at) for each, at in naive if at > now - seconds]
        is_new = all(each != key for each, _ in naive)
        if is_new:
            naive = [*naive, (key, now)][-most:]
        assert seen.add(key, float(now)) is is_new
        assert len(seen) == len(naive)


def test_memory_of_deliveries_is_bounded() -> None:
    """A hundred thousand deliveries to one URL, with ids or without, leave few behind."""
    seen = SeenDeliveries(most=16)
    for n in range(50_000):
        seen.add("", str(n).encode(), 0.0, is_news=False)
        seen.add(str(n), b"", 0.0, is_news=False)
    held = [n for n in range(50_000) if seen.is_repeated("", str(n).encode(), 0.0)]
    assert held == list(range(50_000 - 16, 50_000))
    held = [n for n in range(50_000) if seen.is_repeated(str(n), b"", 0.0)]
    assert held == list(range(50_000 - 64, 50_000))
