"""Receives webhooks: inside an aiohttp app, inside an ASGI app, or on a port of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from ..model import Secret
from .claims import DeliveryReader, read_run
from .router import LIMIT, Delivery, WebhookRouter, WebhookStatistics
from .tickets import Ticket, Wakeable

if TYPE_CHECKING:
    from aiohttp import web

Message = MutableMapping[str, Any]
_DELIVERY_ID: Final = "Webhook-Id"  # as the Standard Webhooks specification names it


class WebhookReceiver:
    """Receives webhooks and wakes the runs they are about: a delivery wakes, a poll decides.

    `public_url` is the URL under which the vendor reaches it, the path it is mounted at included. It serves as

    - a sub-application of aiohttp: `app.add_subapp("/hooks", receiver.app())`,
    - an ASGI app: `app.mount("/hooks", receiver)` in FastAPI or Starlette,
    - a server of its own: `async with WebhookReceiver().serve(port=8700) as receiver`.

    `leap.run(..., webhook_url=receiver)` gives each run a URL that cannot be guessed. A delivery is answered
    with 202 once its size (1 MiB), shape and repetition are checked, and its bearer token where the vendor
    sends one, and the run is polled, unless the delivery says that it merely goes on; what a delivery says is
    never believed. Lost, late, early, repeated or forged deliveries do no harm: the next regular poll finds the
    end. `on_delivery` is called with each `Delivery`.
    """

    def __init__(
        self, public_url: str | None = None, *, on_delivery: Callable[[Delivery], object] | None = None
    ) -> None:
        self._base_url = None if public_url is None else _checked(public_url)
        self._router = WebhookRouter(on_delivery)

    @property
    def is_working(self) -> bool:
        """Return whether deliveries can be relied on: until three runs in a row have ended without one."""
        return self._router.is_working

    def statistics(self) -> WebhookStatistics:
        """Return the counts of deliveries and tickets."""
        return self._router.statistics()

    def missed(self) -> None:
        """Record that a run ended without a delivery."""
        self._router.missed()

    def issue(self, *, bearer: Secret | None = None, read: DeliveryReader = read_run) -> Ticket:
        """Return a ticket with a new URL that cannot be guessed. Raises ValueError while the public URL is not known.

        With a `bearer`, deliveries without that token are answered with 401. `read` finds the run in a delivery.
        """
        if self._base_url is None:
            raise ValueError("WebhookReceiver needs its public_url, or that serve() is entered first")
        return self._router.issue(self._base_url, bearer=bearer, read=read)

    def bind(self, ticket: Ticket, run: Wakeable) -> None:
        """Make deliveries to the ticket's URL wake `run`, for as long as the program keeps a reference to `run`."""
        self._router.bind(ticket, run)

    def revoke(self, ticket: Ticket) -> None:
        """Refuse deliveries to the ticket's URL from now on. May be called twice."""
        self._router.revoke(ticket)

    def url_for(self, run: Wakeable | None = None) -> str:
        """Return a URL that cannot be guessed, whose deliveries wake `run` if one is given."""
        ticket = self.issue()
        if run is not None:
            self.bind(ticket, run)
        return ticket.url

    def app(self) -> "web.Application":
        """Make an application for `add_subapp`."""
        from aiohttp import web  # noqa: PLC0415 - the server half of aiohttp, which most programs never load

        app = web.Application(client_max_size=LIMIT)
        app.router.add_post("/{name}/{secret}", self._handle)
        return app

    @asynccontextmanager
    async def serve(
        self, *, port: int = 0, host: str = "127.0.0.1", public_url: str | None = None
    ) -> AsyncIterator[Self]:
        """Listen on a port while the block runs. Without a public URL, the address that is listened on is used."""
        from aiohttp import web  # noqa: PLC0415 - as in app()

        given = None if public_url is None else _checked(public_url)
        before = self._base_url
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            shown, real = runner.addresses[0][:2]
            own = f"http://{f'[{shown}]' if ':' in shown else shown}:{real}"
            self._base_url = given or before or own
            yield self
        finally:
            self._base_url = before  # nothing listens there any more
            await runner.cleanup()

    async def _handle(self, request: "web.Request") -> "web.Response":
        from aiohttp import web  # noqa: PLC0415 - as in app(), and loaded by then

        path, authorization = request.rel_url.raw_path, request.headers.get("Authorization", "")
        status = self._router.refuse(path, authorization)
        if status is None:
            try:
                body = await _content(request)
            except (web.RequestPayloadError, ConnectionError):
                body = b""  # cut off, or not what its headers say
            delivery_id = request.headers.get(_DELIVERY_ID, "")
            status = self._router.receive(path, body, authorization, delivery_id)
        return web.Response(status=status)

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        status = HTTPStatus.METHOD_NOT_ALLOWED
        if scope["method"] == "POST":
            path, authorization = scope["path"], _header(scope, "Authorization")
            status = self._router.refuse(path, authorization) or self._router.receive(
                path, await _body(receive), authorization, _header(scope, _DELIVERY_ID)
            )
        await send(
            {"type": "http.response.start", "status": int(status), "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})

    def __repr__(self) -> str:
        return f"<WebhookReceiver at {self._base_url or 'no URL yet'}, {self.statistics().tickets} runs>"


async def _content(request: "web.Request") -> bytes | None:
    """Read the body; None when it is too large. An application that this one is mounted in may allow more."""
    if request.content.at_eof():
        return await request.read()  # a middleware has read it; aiohttp keeps what it read
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > LIMIT:
            return None
    return bytes(body)


def _header(scope: MutableMapping[str, Any], wanted: str) -> str:
    known = wanted.lower().encode()
    found = (value for name, value in scope.get("headers", ()) if name.lower() == known)
    return next(found, b"").decode("latin-1")


async def _serve_lifespan(
    receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer the lifespan protocol, where the receiver is an application by itself."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes | None:
    """Read the body; None when it is too large, empty when its sender disconnected."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        if len(body) > LIMIT:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _checked(url: str) -> str:
    parts = urlsplit(url)
    is_plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
        # Not quoted: it may hold a password.
        raise ValueError(
            "public_url has to be like https://hooks.example.com/leap, without user, query or fragment"
        )
    return url.rstrip("/")
