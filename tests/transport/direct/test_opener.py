"""Taking connections over from aiohttp, and what happens where that cannot be done."""

from typing import Any

import aiohttp
import pytest

from aioagents.model import Purpose
from aioagents.transport import HttpSend
from aioagents.transport.direct import Opener
from tests.transport.raw import OK, Line, sender, serving


async def _answer(line: Line) -> None:
    while True:
        await line.hear()
        await line.write(OK)


async def _assert_sends_once(send: HttpSend) -> None:
    """Assert that polls and starts are answered, and each is sent once."""
    async with serving(_answer) as it:
        on_sent_calls: list[None] = []
        for purpose in (Purpose.POLL, Purpose.START, Purpose.START):
            request = it.request(method="GET", purpose=purpose)
            reply = await send.send(request, headers={}, on_sent=lambda: on_sent_calls.append(None))
            assert reply.body == b"ok"
        assert len(on_sent_calls) == 3


async def test_this_aiohttp_is_supported() -> None:
    """The installed aiohttp gives its connections away."""
    assert Opener.is_supported()
    async with sender() as send:
        assert repr(send) == "<HttpSend direct=True>"
        await _assert_sends_once(send)
        assert repr(send) == "<HttpSend direct=True>"


class _Connector(aiohttp.TCPConnector):
    async def connect(self, request: Any) -> Any:  # type: ignore[override]  # as another aiohttp may have it
        raise AssertionError(request)


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (aiohttp, "ClientRequest", dict),
        (aiohttp, "TCPConnector", _Connector),
        (aiohttp.connector.Connection, "protocol", None),
        (aiohttp.connector.Connection, "transport", None),
        (aiohttp.client_proto.ResponseHandler, "should_close", None),
    ],
)
async def test_another_aiohttp_is_recognized(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, value: object
) -> None:
    """Where aiohttp lacks what is used of it, that is found out when the pool is opened."""
    if value is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, value)
    assert not Opener.is_supported()


@pytest.mark.parametrize("failure", [AttributeError, NotImplementedError])
async def test_what_is_recognized_later(monkeypatch: pytest.MonkeyPatch, failure: type[Exception]) -> None:
    """Where a connection cannot be taken over after all, its request goes over a session, and so do all others."""
    asked = 0
    should_close = aiohttp.client_proto.ResponseHandler.should_close

    def fail_once(handler: aiohttp.client_proto.ResponseHandler) -> object:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise failure
        return should_close.__get__(handler)

    monkeypatch.setattr(aiohttp.client_proto.ResponseHandler, "should_close", property(fail_once))
    async with sender() as send:
        assert repr(send) == "<HttpSend direct=True>"
        await _assert_sends_once(send)
        assert repr(send) == "<HttpSend direct=False>"
