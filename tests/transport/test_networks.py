"""Networks of companies: forward proxies, authorities of their own, and client certificates."""

import ssl

import pytest
import trustme

from aioagents import Leap, PoolLimits, SessionPool, Timeouts
from aioagents.errors import NotSent, ReplyError
from aioagents.model import Purpose
from aioagents.transport import HttpSend
from tests.transport.forward_proxy import forward_proxy
from tests.transport.raw import OK, Line, sender, serving

pytestmark = pytest.mark.usefixtures("way")

PURPOSES = [Purpose.POLL, Purpose.START]


async def answer(line: Line) -> None:
    """Answer every request."""
    while True:
        await line.hear()
        await line.write(OK)


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_https_through_a_proxy(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, purpose: Purpose
) -> None:
    """A proxy opens a tunnel, once for all requests over the connection, and sees nothing of what is in it."""
    async with serving(answer, tls=server_tls) as it, forward_proxy("user:hunter2") as proxy:
        url = proxy.url.replace("://", "://user:hunter2@")
        async with sender(proxy=url, tls=client_tls) as send:
            request = it.request(method="GET", purpose=purpose)
            for _ in range(3):
                reply = await send.send(request, headers={"X": "1"}, on_sent=lambda: None)
                assert reply.body == b"ok"
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT 127.0.0.1:{it.port} HTTP/1.1\r\n")
        assert it.connections == 1
        assert "proxy-authorization" not in it.lines[0].head


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_http_through_a_proxy(purpose: Purpose) -> None:
    """A proxy is asked with the whole URL and its own credentials, over a connection that is kept."""
    async with serving(answer) as it, forward_proxy("user:hunter2") as proxy:
        url = proxy.url.replace("://", "://user:hunter2@")
        async with sender(proxy=url) as send:
            request = it.request(method="GET", purpose=purpose)
            for _ in range(2):
                assert (await send.send(request, headers={}, on_sent=lambda: None)).body == b"ok"
        assert [head.split("\r\n")[0] for head in proxy.heads] == [f"GET {request.url} HTTP/1.1"] * 2
        assert f"host: 127.0.0.1:{it.port}\r\n" in it.lines[0].head


async def test_a_proxy_over_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """A proxy may itself be reached over TLS."""
    async with serving(answer) as it, forward_proxy(tls=server_tls) as proxy:
        url = proxy.url.replace("http", "https", 1)
        async with sender(proxy=url, tls=client_tls) as send:
            assert (await send.send(it.request(method="GET"), headers={})).body == b"ok"


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nhunter2", "403"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "502"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(client_tls: ssl.SSLContext, refusal: bytes, status: str) -> None:
    """A proxy's own refusal means that nothing was sent; the error has its status."""
    on_sent_calls: list[None] = []
    async with forward_proxy(refusal=refusal) as proxy:
        url = proxy.url.replace("://", "://user:hunter2@")
        async with serving(answer) as it, sender(proxy=url, tls=client_tls) as send:
            it.scheme = "https"
            for on_sent in (None, lambda: on_sent_calls.append(None)):
                with pytest.raises(NotSent, match=f"the proxy refused, with status {status}"):
                    await send.send(it.request(), headers={}, on_sent=on_sent)
    assert on_sent_calls == []


async def test_a_proxy_where_nobody_listens() -> None:
    """Where the proxy cannot be reached, nothing was sent."""
    async with serving(answer) as it:
        gone = f"http://127.0.0.1:{it.port}"
    async with serving(answer) as it, sender(proxy=gone) as send:
        for scheme in ("http", "https"):
            it.scheme = scheme
            with pytest.raises(NotSent):
                await send.send(it.request(), headers={}, on_sent=lambda: None)
        assert it.connections == 0


async def test_a_pool_through_a_proxy(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """`SessionPool` takes a proxy and a context for TLS, and every call goes there."""

    async def refuse(line: Line) -> None:
        await line.hear()
        await line.write(b'HTTP/1.1 404 Not Found\r\nContent-Length: 17\r\n\r\n{"message": "no"}')

    async with serving(refuse, tls=server_tls) as it, forward_proxy() as proxy:
        async with SessionPool(proxy=proxy.url, ssl=client_tls) as pool:
            leap = Leap(pool, api_key="k", base_url=f"https://127.0.0.1:{it.port}")
            with pytest.raises(ReplyError):
                await leap.run("w")
        assert len(proxy.heads) == it.connections == 1


async def test_an_authority_of_ones_own(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """A certificate of an authority that is not known is refused before anything is sent."""
    async with serving(answer, tls=server_tls) as it:
        async with sender(tls=client_tls) as send:
            assert (await send.send(it.request(method="GET"), headers={})).body == b"ok"
        async with sender() as send:
            with pytest.raises(NotSent, match="TLS failed"):
                await send.send(it.request(method="GET"), headers={}, on_sent=lambda: None)


async def test_another_hosts_certificate(authority: trustme.CA, client_tls: ssl.SSLContext) -> None:
    """A certificate for another host is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.com").configure_cert(context)
    async with serving(answer, tls=context) as it, sender(tls=client_tls) as send:
        with pytest.raises(NotSent, match="TLS failed"):
            await send.send(it.request(method="GET"), headers={}, on_sent=lambda: None)


async def test_a_client_certificate(authority: trustme.CA) -> None:
    """A client certificate is shown to a server that asks for one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = ssl.create_default_context()
    authority.configure_trust(mine)
    authority.issue_cert("client@example.com").configure_cert(mine)
    async with serving(answer, tls=context) as it, sender(tls=mine) as send:
        assert (await send.send(it.request(method="GET"), headers={})).body == b"ok"


def test_a_session_of_the_callers_has_its_own_settings(client_tls: ssl.SSLContext) -> None:
    """A proxy or a context beside a session of the caller's is an error: neither would be used."""
    session = object()
    for settings in ({"proxy": "http://proxy"}, {"tls": client_tls}):
        with pytest.raises(ValueError, match="a session of the caller's"):
            HttpSend(limits=PoolLimits(), timeouts=Timeouts(), session=session, **settings)  # type: ignore[arg-type]  # never used
