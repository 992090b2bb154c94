"""Kore Agent Platform: how its resources make calls, one `Calls` for each of the two keys."""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from ...calls import Account, Start
from ...errors import AuthorizationRequired
from ...model import Purpose, Reply, Request, Run
from ...pool import SessionPool
from .settings import VENDOR
from .values import AuthorizationProfile

T = TypeVar("T")


@frozen
class Calls:
    """Calls with one key to one base URL. Without a key every call raises ValueError, which names the setting."""

    pool: SessionPool
    url: str
    setting: str
    key: Account | None = field(default=None)

    @property
    def account(self) -> Account:
        """Return the account. Raises ValueError, which names the setting, if there is no key."""
        if self.key is None:
            raise ValueError(
                f"this call needs {self.setting} (AGENT_PLATFORM_{self.setting.upper()} in the environment)"
            )
        return self.key

    def ensure_usable(self) -> None:
        """Raise ValueError if there is no key, PoolClosed if the pool is not open."""
        _ = self.account
        self.pool.ensure_open()

    async def call(self, request: Request, read: Callable[[Reply, str], T]) -> T:
        """Make a call that may be repeated, and return `read(reply, name of the call)`."""
        self.pool.ensure_open()
        return await self.pool.caller.call(self.account, request, lambda reply: read(reply, request.call))

    async def start(self, start: Start[T]) -> T:
        """Send a request that starts or creates something, once. Raises as `Caller.start`."""
        self.pool.ensure_open()
        return await self.pool.caller.start(self.account, start)

    async def create(
        self, request: Request, read: Callable[[Reply, str], T], *, target: str, advice: str, **options: Any
    ) -> T:
        """Send a request that creates something which is no run, once, and return `read(reply, name of the call)`.

        `options` are those of `Start`. Raises as `Caller.start`.
        """
        request = attrs.evolve(request, purpose=Purpose.START)
        return await self.start(
            Start(
                vendor=VENDOR,
                request=request,
                read=lambda reply: read(reply, request.call),
                target=target,
                advice=advice,
                is_run=False,
                **options,
            )
        )


def require_authorized(
    profiles: tuple[AuthorizationProfile, ...], call: str, found: object, run: Run | None = None
) -> None:
    """Raise AuthorizationRequired, with the pending sign-ins and the answer `found`, if any are pending."""
    if profiles:
        raise AuthorizationRequired(
            f"{VENDOR}: {call} was answered, and {len(profiles)} sign-in(s) of its end user are pending",
            vendor=VENDOR,
            call=call,
            pending_authorizations=profiles,
            reply=found,
            run=run,
            ref=None if run is None else run.ref,
        )
