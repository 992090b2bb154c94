"""Sends the fake servers' webhooks over HTTP when they are due, with the faults that are drawn for them."""

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
from .faults import FaultKind, Faults, WebhookFault

_AT_ONCE: Final = 100
_TIMEOUT: Final = 5.0
_IDLE: Final = 1.0  # shorter than any server keeps a connection: a POST on a dying one would be lost
_LEAST, _MOST = 0.0005, 3600.0  # seconds that a timer is set ahead
_GARBAGE: Final = (b"", b"{", b"<html></html>", b"[]", b'"completed"', b"{}", b'{"id": 7, "status": null}')


class WebhookSender:
    """Takes due webhooks from the fake servers and POSTs each to its URL: once, five seconds at most, 100 at once.

    One timer is set for the webhook of all fake servers that is due next. Only loopback addresses are sent to;
    redirects are not followed. `sent`, `delivered`, `failed`, `refused` and `happened` (faults) are counters.
    """

    def __init__(
        self, fakes: Sequence[SendsWebhooks], *, faults: Faults, now: Callable[[], float], speed: float
    ) -> None:
        self._fakes = fakes
        self._faults = faults
        self._now = now
        self._speed = speed
        self._supervisor = Supervisor()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.sent = self.delivered = self.failed = self.refused = 0
        self.happened: Counter[str] = Counter()

    async def open(self) -> None:
        """Prepare to send from the running event loop. Does nothing where no fake server sends webhooks."""
        if self._fakes:
            await self._supervisor.open()

    async def aclose(self) -> None:
        """Cancel what is being sent, and send nothing more."""
        self._fakes = ()
        if self._timer is not None:
            self._timer.cancel()
        await self._supervisor.aclose()
        if self._session is not None:
            await self._session.close()
            # The transports call `connection_lost` of their protocols in the next iterations of the loop.
            for _ in range(3):
                await asyncio.sleep(0)

    def is_early(self, run: str) -> bool:
        """Return whether the webhook of this run is to be sent before the reply to its start."""
        return self._faults.draw_webhook(run).kind is FaultKind.WEBHOOK_EARLY

    def wake(self) -> None:
        """Set the timer anew, after webhooks may have been planned."""
        moments = [at for at in (fake.next_webhook_at() for fake in self._fakes) if at is not None]
        if not moments:
            return
        at = min(moments)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        ahead = (at - self._now()) / self._speed
        # Never 0 for a future time, or a clock that stands still would keep the event loop busy.
        seconds = min(max(ahead, _LEAST), _MOST) if ahead > 0 else 0.0
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(seconds, self._send_due)

    async def deliver(self, early: Iterable[str]) -> None:
        """Send what is due, and wait until the webhooks of the runs `early` have been answered or have failed."""
        tasks = self._send_due(frozenset(early))
        if tasks:
            self.happened[FaultKind.WEBHOOK_EARLY.value] += len(tasks)
            await asyncio.wait(tasks)

    def _send_due(self, awaited: frozenset[str] = frozenset()) -> "list[asyncio.Task[None]]":
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
            case FaultKind.WEBHOOK_LOST:
                times = 0
            case FaultKind.WEBHOOK_TWICE:
                times = 2
            case FaultKind.WEBHOOK_WRONG:
                webhook = attrs.evolve(webhook, body=_wrong(fake, webhook, fault))
        if fault.kind not in (None, FaultKind.WEBHOOK_EARLY):
            self.happened[fault.kind.value] += 1
        return [self._supervisor.spawn(self._post(webhook, after=fault.seconds)) for _ in range(times)]

    async def _post(self, webhook: Webhook, *, after: float) -> None:
        if after:
            await asyncio.sleep(after)
        async with self._slots:
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
    """Choose with equal chances between garbage of any kind and each of the false bodies."""
    false_bodies = fake.false_bodies(webhook)
    which, rest = divmod(fault.part * (1 + len(false_bodies)), 1)
    return false_bodies[int(which) - 1] if which else _GARBAGE[int(rest * len(_GARBAGE))]


def _make_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE, resolver=_Localhost()),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
    )


def _loopback_url(url: str) -> str | None:
    """Return the URL, rebuilt from the parts that were checked; None when its host is not loopback."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        is_local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return None
    if not is_local or parts.scheme not in ("http", "https") or "@" in parts.netloc or "%" in host:
        return None
    name = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, name if port is None else f"{name}:{port}", parts.path, parts.query, ""))


class _Localhost(AbstractResolver):
    """Resolves `localhost` to this machine, whatever its hosts file says, and no other name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return both loopback addresses for `localhost`. Raises OSError for any other name."""
        if host != "localhost":
            raise OSError(f"{host} is not a loopback name")
        known = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)
            for kind, address in known
            if family in (kind, socket.AF_UNSPEC)
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
