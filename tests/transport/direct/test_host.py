"""The connections to a host: who gets which, how many there are, and that none is lost on the way."""

import asyncio

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioagents.transport.direct.connection import HttpConnection
from aioagents.transport.direct.host import Host
from tests.fakes import settle
from tests.transport.direct.wire import OK, Wire, Wires, ask


def wire_of(connection: HttpConnection, wires: Wires) -> Wire:
    """Return the wire of a connection."""
    (found,) = [wire for wire in wires.made if wire.connection is connection]
    return found


async def use(host: Host, wires: Wires) -> HttpConnection:
    """Make one exchange over a new connection, which is idle afterwards."""
    connection = await host.connect()
    ask(connection)
    wire_of(connection, wires).receive(OK)
    return connection


async def test_the_newest_first() -> None:
    """Of several idle connections the one that became idle last is taken, and none twice."""
    wires = Wires()
    host = wires.host()
    first, second = await host.connect(), await host.connect()
    for connection in (second, first):
        ask(connection)
        wire_of(connection, wires).receive(OK)
    assert [host.take(75), host.take(75), host.take(75)] == [first, second, None]


async def test_no_connection_older_than_asked_for() -> None:
    """A connection that was idle for longer than asked for is not taken, and stays for others."""
    wires = Wires()
    host = wires.host()
    connection = await use(host, wires)
    connection.idle_since -= 10
    assert host.take(9) is None
    assert host.take(11) is connection
    assert connection.idle_for == pytest.approx(10, abs=1)


async def test_a_new_one_where_all_are_too_old() -> None:
    """Where there is no room beside connections that are too old, the oldest is closed for a new one."""
    wires = Wires()
    host = wires.host(per_host=1)
    old = await use(host, wires)
    new = await asyncio.wait_for(host.connect(), 5)
    assert (old.is_open, new.is_open) == (False, True)
    assert repr(host) == "<Host connections=1, idle=0, waiting=0>"


async def test_waiters_in_their_order() -> None:
    """Whoever waits gets the next connection that becomes idle, or may open one where one was closed."""
    wires = Wires()
    host = wires.host(per_host=1)
    first = await host.connect()
    waiting = [asyncio.ensure_future(host.connect()) for _ in range(3)]
    await settle()
    ask(first)
    wires.made[0].receive(OK)
    assert await waiting[0] is first
    first.abort()
    second = await waiting[1]
    assert (second is first, len(wires.made), waiting[2].done()) == (False, 2, False)
    second.fail(OSError())
    assert await waiting[2] is wires.made[2].connection
    assert repr(host) == "<Host connections=1, idle=0, waiting=0>"


async def test_a_connection_that_dies_on_its_way_to_a_waiter() -> None:
    """A connection that is closed before its waiter runs is not given out, and does not count."""
    wires = Wires()
    host = wires.host(per_host=1)
    connection = await host.connect()
    waiting = asyncio.ensure_future(host.connect())
    await settle()
    ask(connection)
    wires.made[0].receive(OK)
    wires.made[0].receive(b"stranger")
    assert await asyncio.wait_for(waiting, 5) is wires.made[1].connection
    assert repr(host) == "<Host connections=1, idle=0, waiting=0>"


async def test_a_waiter_that_is_cancelled_passes_on_what_it_got() -> None:
    """Cancelled in the step in which it gets a connection, or room for one, a waiter leaves it to the next."""
    wires = Wires()
    host = wires.host(per_host=1)
    connection = await host.connect()
    for end in ("released", "closed", "failing"):
        waiting = [asyncio.ensure_future(host.connect()) for _ in range(2)]
        await settle()
        if end == "released":
            ask(connection)
            wire_of(connection, wires).receive(OK)
        else:
            connection.abort()
        waiting[0].cancel()
        connection = await asyncio.wait_for(waiting[1], 5)
        assert waiting[0].cancelled()
        assert repr(host) == "<Host connections=1, idle=0, waiting=0>"


async def test_an_opening_that_fails_or_is_cancelled_leaves_its_room() -> None:
    """Where opening fails, or is cancelled, the next in line may open."""
    wires = Wires()
    host = wires.host(per_host=1)
    loop = asyncio.get_running_loop()
    wires.held = [loop.create_future() for _ in range(2)]
    failing, cancelled = wires.held
    tasks = [asyncio.ensure_future(host.connect()) for _ in range(3)]
    await settle()
    assert wires.opening == 1
    failing.set_exception(OSError("no"))
    with pytest.raises(OSError, match="no"):
        await tasks[0]
    await settle()
    assert wires.opening == 2
    tasks[1].cancel()
    assert await asyncio.wait_for(tasks[2], 5) is wires.made[0].connection
    cancelled.cancel()


async def test_closing_ends_everything() -> None:
    """Closing fails requests and waiters, closes idle connections, and those that are being opened."""
    wires = Wires()
    idle = wires.host()
    await use(idle, wires)
    idle.close()
    host = wires.host(per_host=2)
    busy = await host.connect()
    reply = ask(busy)
    wires.held = [asyncio.get_running_loop().create_future()]
    opening, (held,) = asyncio.ensure_future(host.connect()), wires.held
    await settle()
    waiting = asyncio.ensure_future(host.connect())
    await settle()
    host.close()
    held.set_result(None)
    for each in (reply, opening, waiting):
        with pytest.raises(aiohttp.ClientConnectionError):
            await each
    with pytest.raises(aiohttp.ClientConnectionError):
        await host.connect()
    assert all(wire.is_aborted for wire in wires.made)


async def test_idle_connections_are_closed_in_time() -> None:
    """Idle connections are closed, the oldest first, without anybody asking for one."""
    wires = Wires()
    host = wires.host(keep_alive=0.05)
    first, second = await host.connect(), await host.connect()
    for connection in (first, second):
        ask(connection)
        wire_of(connection, wires).receive(OK)
    first.idle_since -= 0.04
    async with asyncio.timeout(5):
        while first.is_open:
            assert second.is_open
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.001)
        while second.is_open:
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.001)
    assert repr(host) == "<Host connections=0, idle=0, waiting=0>"


class World:
    """Requests to one host, and what happens to them."""

    def __init__(self, per_host: int) -> None:
        self.wires = Wires()
        self.host = self.wires.host(per_host=per_host)
        self.tasks: list[asyncio.Task[bytes]] = []

    async def request(self) -> bytes:
        """Make one exchange as `DirectSend` does."""
        connection = self.host.take(75) or await self.host.connect()
        waiter = ask(connection)
        try:
            return (await waiter)[2]
        except asyncio.CancelledError:
            if waiter.cancelled():
                connection.abort()
            raise
        except (OSError, aiohttp.ClientError):
            return b"lost"

    def open_wires(self, state: str) -> list[Wire]:
        """Return the wires of open connections in one state."""
        return [
            wire
            for wire in self.wires.made
            if not wire.is_aborted and repr(wire.connection) == f"<HttpConnection {state}>"
        ]

    def ask(self, _: int) -> None:
        """Begin a request."""
        self.tasks.append(asyncio.ensure_future(self.request()))

    def cancel(self, number: int) -> None:
        """Cancel a request."""
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    def answer(self, number: int) -> None:
        """Answer a request that was sent."""
        for wire in self.open_wires("busy")[number : number + 1]:
            wire.receive(OK)

    def speak(self, number: int) -> None:
        """Send what nobody asked for."""
        for wire in self.open_wires("idle")[number : number + 1]:
            wire.receive(b"x")

    def lose(self, number: int) -> None:
        """Reset a connection."""
        for wire in (self.open_wires("busy") + self.open_wires("idle"))[number : number + 1]:
            assert wire.connection is not None
            wire.is_aborted = True
            wire.connection.connection_lost(ConnectionResetError())

    def expire(self, number: int) -> None:
        """End the time for a reply."""
        for wire in self.open_wires("busy")[number : number + 1]:
            assert wire.connection is not None
            wire.connection.expire()

    async def answer_all(self) -> None:
        """Answer everything that is asked, until nothing is."""
        async with asyncio.timeout(5):
            while not all(task.done() for task in self.tasks):
                await settle()
                self.answer(0)
        await settle()


STEPS = ["ask", "answer", "cancel", "lose", "speak", "expire", "settle"]


@settings(max_examples=60, deadline=None)
@given(
    per_host=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), max_size=40),
)
def test_no_room_is_lost(per_host: int, steps: list[tuple[str, int]]) -> None:
    """Whatever happens to requests and connections, there are never too many, and all are answered in the end."""

    async def run() -> None:
        world = World(per_host)
        for step, number in steps:
            if step == "settle":
                await settle()
            else:
                getattr(world, step)(number)
            assert len(world.open_wires("busy") + world.open_wires("idle")) <= per_host
        await world.answer_all()
        assert {task.result() for task in world.tasks if not task.cancelled()} <= {b"ok", b"lost"}
        alive = len(world.open_wires("idle"))
        assert repr(world.host) == f"<Host connections={alive}, idle={alive}, waiting=0>"

    asyncio.run(run())
