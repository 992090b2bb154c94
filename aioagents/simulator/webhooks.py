"""Sends what the worlds announce, over HTTP, when it is due, and lets it go wrong as drawn."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import attrs
from aiohttp.abc import AbstractResolver, ResolveResult

from ..contract.fake import SendsWebhooks, Webhook
from ..tasks import Supervisor
from .faults import Faults, Kind, WebhookFault

_AT_ONCE: Final = 100
_TIMEOUT: Final = 5.0
_IDLE: Final = 1.0  # shorter than any server keeps a connection: a POST on a dying one would be lost
_LEAST, _MOST = 0.0005, 3600.0  # seconds that a timer is set ahead
_GARBAGE: Final = (b"", b"{", b"<html></html>", b"[]", b'"completed"', b"{}", b'{"id": 7, "status": null}')


class Courier:
    """Takes due webhooks from the worlds and POSTs each to its URL: once, within five seconds, a hundred at once.

    One timer is set for the next due moment of all worlds. Only loopback addresses are sent to; redirects are
    not followed. `sent`, `delivered`, `failed`, `refused` and `happened` (faults) count.
    """

    def __init__(
        self, fakes: Sequence[SendsWebhooks], *, faults: Faults, now: Callable[[], float], speed: float
    ) -> None:
        self._fakes = fakes
        self._faults = faults
        self._now = now
        self._speed = speed
        self._supervisor = Supervisor()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.sent = self.delivered = self.failed = self.refused = 0
        self.happened: Counter[str] = Counter()

    async def open(self) -> None:
        """Get ready to send, from the running loop. Costs nothing where no world announces anything."""
        if self._fakes:
            await self._supervisor.open()

    async def aclose(self) -> None:
        """End what is being sent, and send nothing more."""
        self._fakes = ()
        if self._timer is not None:
            self._timer.cancel()
        await self._supervisor.aclose()
        if self._session is not None:
            await self._session.close()
            # The transports tell their protocols of the end in the loop's next turns.
            for _ in range(3):
                await asyncio.sleep(0)

    def is_early(self, run: str) -> bool:
        """Return whether the webhook of this run is to be sent before the reply to its start."""
        return self._faults.draw_webhook(run).kind is Kind.WEBHOOK_EARLY

    def wake(self) -> None:
        """Look what is due next, after something may have been planned."""
        moments = [at for at in (fake.next_webhook_at() for fake in self._fakes) if at is not None]
        if not moments:
            return
        at = min(moments)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        ahead = (at - self._now()) / self._speed
        # Never less than a moment, or a clock that stands still would keep the loop busy.
        seconds = min(max(ahead, _LEAST), _MOST) if ahead > 0 else 0.0
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(seconds, self._take)

    async def deliver(self, early: Iterable[str]) -> None:
        """Send what is due, and return when the webhooks of these runs have been answered or have failed."""
        tasks = self._take(frozenset(early))
        if tasks:
            self.happened[Kind.WEBHOOK_EARLY.value] += len(tasks)
            await asyncio.wait(tasks)

    def _take(self, awaited: frozenset[str] = frozenset()) -> "list[asyncio.Task[None]]":
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, tasks = self._now(), []
        for fake in self._fakes:
            for webhook in fake.take_webhooks(now):
                sent = self._send(fake, webhook)
                if webhook.run in awaited:
                    tasks += sent
        self.wake()
        return tasks

    def _send(self, fake: SendsWebhooks, webhook: Webhook) -> "list[asyncio.Task[None]]":
        url = _loopback_url(webhook.url)
        if url is None:
            self.refused += 1
            return []
        fault, times = self._faults.draw_webhook(webhook.run), 1
        webhook = attrs.evolve(webhook, url=url)
        match fault.kind:
            case Kind.WEBHOOK_LOST:
                times = 0
            case Kind.WEBHOOK_TWICE:
                times = 2
            case Kind.WEBHOOK_WRONG:
                webhook = attrs.evolve(webhook, body=_wrong(fake, webhook, fault))
        if fault.kind not in (None, Kind.WEBHOOK_EARLY):
            self.happened[fault.kind.value] += 1
        return [self._supervisor.spawn(self._post(webhook, after=fault.seconds)) for _ in range(times)]

    async def _post(self, webhook: Webhook, *, after: float) -> None:
        if after:
            await asyncio.sleep(after)
        async with self._places:
            self.sent += 1
            if self._session is None:
                self._session = _make_session()
            try:
                async with self._session.post(
                    webhook.url, data=webhook.body, headers=webhook.headers, allow_redirects=False
                ) as reply:
                    is_taken = 200 <= reply.status < 300  # noqa: PLR2004
            except (aiohttp.ClientError, OSError, ValueError):
                is_taken = False
        self.delivered += is_taken
        self.failed += not is_taken


def _wrong(fake: SendsWebhooks, webhook: Webhook, fault: WebhookFault) -> bytes:
    """Choose evenly between garbage of any kind and each of the world's lies."""
    lies = fake.false_bodies(webhook)
    which, rest = divmod(fault.part * (1 + len(lies)), 1)
    return lies[int(which) - 1] if which else _GARBAGE[int(rest * len(_GARBAGE))]


def _make_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE, resolver=_Localhost()),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
    )


def _loopback_url(url: str) -> str | None:
    """Return the URL, put together anew from what was checked; None when it leads elsewhere."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        is_local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return None
    if not is_local or parts.scheme not in ("http", "https") or "@" in parts.netloc or "%" in host:
        return None
    place = f"[{host}]" if ":" in host else host
    return urlunsplit(
        (parts.scheme, place if port is None else f"{place}:{port}", parts.path, parts.query, "")
    )


class _Localhost(AbstractResolver):
    """Knows one name, and that it is this machine, whatever the machine's own tables say."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return both loopback addresses for `localhost`, and OSError for any other name."""
        if host != "localhost":
            raise OSError(f"{host} is not a loopback name")
        known = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)
            for kind, address in known
            if family in (kind, socket.AF_UNSPEC)
        ]

    async def close(self) -> None:
        """Hold nothing."""
