"""Both ways of sending (over connections taken over from aiohttp, and over its sessions), and TLS for both."""

import ssl

import aiohttp
import pytest
import trustme

from tests.fakes import OtherRequest


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return a certificate authority that nobody else trusts."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of servers on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of clients that trust them."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(params=["direct", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return how small requests are sent; over sessions they are where aiohttp is not the expected one."""
    if request.param == "session":
        monkeypatch.setattr(aiohttp, "ClientRequest", OtherRequest)
    return str(request.param)
