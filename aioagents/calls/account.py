"""An account: one set of credentials at one vendor, and the limits, retry budget and tokens that go with it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ..auth import TokenCache, TokenSource
from ..clock import Clock
from ..model import Token
from ..retry import RetryBudget, RetryPolicy
from ..transport import Limiter, PoolLimits
from .reply_errors import ReadRefusal, read_any_refusal

UNSIGNED: Final[Mapping[str, str]] = MappingProxyType({})


class Account:
    """One set of credentials at one vendor. All who use it share its limits, its retry budget and its tokens."""

    def __init__(
        self,
        name: str,
        vendor: str,
        *,
        limits: PoolLimits,
        retry: RetryPolicy,
        clock: Clock,
        headers: Mapping[str, str] = UNSIGNED,
        tokens: tuple[TokenCache, TokenSource] | None = None,
        read_refusal: ReadRefusal = read_any_refusal,
    ) -> None:
        self.name = name
        self.vendor = vendor
        #: Reads the vendor's own form of refusals.
        self.read_refusal = read_refusal
        self.limiter = Limiter(limits, clock)
        self.budget = RetryBudget(retry)
        self.headers = headers
        #: Whether it signs with tokens, so that a new one may help after a 401.
        self.has_tokens = tokens is not None
        #: The latest token that the vendor accepted; reporting it as accepted again has no effect.
        self.accepted: Token | None = None
        self._tokens = tokens

    def token_nowait(self) -> Token | None:
        """Return the token to sign with, or None where callers have to wait for one."""
        if self._tokens is None:
            return None
        cache, source = self._tokens
        return cache.peek(source)

    async def token(self) -> Token | None:
        """Wait for the token to sign with; return None where the account has fixed headers."""
        if self._tokens is None:
            return None
        cache, source = self._tokens
        return await cache.get(source)

    def report_token(self, token: Token | None, *, is_accepted: bool) -> None:
        """Report to the token cache whether the vendor accepted `token`, or answered 401."""
        if self._tokens is not None and token is not None:
            cache, source = self._tokens
            (cache.accept if is_accepted else cache.reject)(source, token)
            self.accepted = token if is_accepted else None

    def __repr__(self) -> str:
        return f"<Account {self.name}>"
