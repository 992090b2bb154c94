"""One set of credentials at one vendor: what everybody who uses it shares."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ..auth import TokenCache, TokenSource
from ..clock import Clock
from ..model import Token
from ..retry import RetryBudget, RetryPolicy
from ..transport import Limiter, PoolLimits

UNSIGNED: Final[Mapping[str, str]] = MappingProxyType({})


class Account:
    """One set of credentials at one vendor. Its limits, retries and tokens are shared by all who use it."""

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
    ) -> None:
        self.name = name
        self.vendor = vendor
        self.limiter = Limiter(limits, clock)
        self.budget = RetryBudget(retry)
        self.headers = headers
        #: Whether a 401 may be cured by a new token.
        self.has_tokens = tokens is not None
        #: The latest token that was good for something; to `judge` it again as good tells nothing new.
        self.accepted: Token | None = None
        self._tokens = tokens

    def token_nowait(self) -> Token | None:
        """Return the token to sign with, None where there is none at hand."""
        if self._tokens is None:
            return None
        cache, source = self._tokens
        return cache.peek(source)

    async def token(self) -> Token | None:
        """Wait for the token to sign with, None where the account has fixed headers."""
        if self._tokens is None:
            return None
        cache, source = self._tokens
        return await cache.get(source)

    def judge(self, token: Token | None, *, is_good: bool) -> None:
        """Tell the cache what became of `token`."""
        if self._tokens is not None and token is not None:
            cache, source = self._tokens
            (cache.accept if is_good else cache.reject)(source, token)
            self.accepted = token if is_good else None

    def __repr__(self) -> str:
        return f"<Account {self.name}>"
