"""Both ways of sending: over connections taken over from aiohttp, and over its sessions."""

import aiohttp
import pytest


class _OtherRequest:
    """A `ClientRequest` of another aiohttp, which takes other arguments."""

    def __init__(self, *, settings: object) -> None:
        self.settings = settings


@pytest.fixture(params=["direct", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return how small requests are sent; over sessions they are where aiohttp is not the expected one."""
    if request.param == "session":
        monkeypatch.setattr(aiohttp, "ClientRequest", _OtherRequest)
    return str(request.param)
