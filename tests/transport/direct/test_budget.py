"""How much the bodies under way may have together."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.transport.direct.budget import ReplyBudget
from tests.transport.direct.wire import Wires, ask


class Body:
    """A body that grows for as long as it may."""

    def __init__(self, budget: ReplyBudget) -> None:
        self.budget = budget
        self.size = 0
        self.may_grow = True

    def grow(self, count: int) -> None:
        """Receive so many bytes."""
        self.size += count
        self.may_grow = self.budget.set_size(self, self.size)

    def resume(self) -> None:
        """Receive again."""
        assert not self.may_grow
        self.may_grow = True


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["grow", "end"]), st.integers(0, 4), st.integers(1, 60)), max_size=60)
)
def test_somebody_may_always_go_on(steps: list[tuple[str, int, int]]) -> None:
    """Beyond the limit one body grows, and there is always one that may; below it, all may."""
    budget = ReplyBudget(100)
    bodies = [Body(budget) for _ in range(5)]
    for step, number, count in steps:
        body = bodies[number]
        if step == "end":
            budget.free(body)
            bodies[number] = Body(budget)
        elif body.may_grow:
            body.grow(count)
        growing = [each for each in bodies if each.may_grow]
        if sum(each.size for each in bodies) <= 100:
            assert len(growing) == 5
        assert growing
        held = sum(each.size for each in bodies if each.size)
        assert repr(budget) == f"<ReplyBudget {held} of 100 bytes, waiting={5 - len(growing)}>"


async def test_replies_wait_for_each_other() -> None:
    """Where large replies have more than is allowed together, all but one are received later, whole."""
    wires = Wires(150_000)
    host = wires.host(per_host=4)
    connections = [await host.connect() for _ in range(4)]
    replies = [ask(connection) for connection in connections]
    for wire in wires.made:
        wire.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
        wire.receive(bytes(70_000))
    assert [wire.is_paused for wire in wires.made] == [False, False, False, True]
    wires.made[1].receive(bytes(50_000))
    wires.made[0].receive(bytes(50_000))
    assert [wire.is_paused for wire in wires.made] == [True, True, False, True]
    wires.made[2].receive(bytes(70_000))
    wires.made[2].receive(bytes(60_000))
    assert replies[2].done()
    assert [wire.is_paused for wire in wires.made] == [True, True, False, False]
    connections[1].abort()
    assert wires.made[0].is_paused
    wires.made[3].receive(bytes(70_000))
    wires.made[3].receive(bytes(60_000))
    assert not wires.made[0].is_paused
    wires.made[0].receive(bytes(80_000))
    assert [len((await replies[each])[2]) for each in (0, 2, 3)] == [200_000] * 3
    assert repr(wires.budget) == "<ReplyBudget 0 of 150000 bytes, waiting=0>"
