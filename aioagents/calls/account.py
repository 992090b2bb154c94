"""An account: one set of credentials at one vendor, and the limits, retry budget and tokens that go with it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeVar

from ..auth import TokenCache, TokenSource
from ..clock import Clock
from ..errors import AuthenticationError, ReplyError
from ..model import Purpose, Reply, Request, Token
from ..retry import RetryBudget, RetryPolicy
from ..transport import Limiter, PoolLimits
from .reply_errors import ReadRefusal, error_of_reply, note_unreadable, read_any_refusal

T = TypeVar("T")
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
        self._read_refusal = read_refusal
        self._was_refused = False  # in the vendor's form
        #: Whether an answer of the vendor's to a request of this account was ever read.
        self.is_proven = False
        self.limiter = Limiter(limits, clock)
        self.budget = RetryBudget(retry)
        self.headers = headers
        #: Whether it signs with tokens, so that a new one may help after a 401.
        self.has_tokens = tokens is not None
        #: The latest token that the vendor accepted; reporting it as accepted again has no effect.
        self.accepted: Token | None = None
        self._tokens = tokens

    @property
    def is_known(self) -> bool:
        """Return whether the vendor ever answered a request of this account, in its own form."""
        return self.is_proven or self._was_refused

    def read(self, request: Request, reply: Reply, read: Callable[[Reply], T], *, passes: bool = False) -> T:
        """Return what `read` makes of the 2xx reply to `request`.

        What it raises is handled by `note_reply`; a DecodeError passes where the answer may be a gateway's; with
        `passes`, as for the poll of a run, it does whatever the reply is.
        """
        try:
            result = read(reply)
        except Exception as error:
            self.note_unreadable(error, request, reply, passes=passes)
            raise
        self.is_proven = True
        return result

    def note_unreadable(
        self, error: Exception, request: Request, reply: Reply, *, passes: bool = False
    ) -> None:
        """Set on `error` what it says about the answer, as in `read`."""
        note_unreadable(error, request, reply, is_known=self.is_known, passes=passes)

    def refusal(
        self,
        request: Request,
        reply: Reply,
        *,
        utcnow: datetime,
        headers: Mapping[str, str],
        shown_body: bytes | None,
    ) -> ReplyError:
        """Return the error for a reply whose status is not 2xx, as `error_of_reply`.

        A 401 to a poll passes where the account was good before: that of a moment must not end thousands of waits.
        """
        error = error_of_reply(
            self.vendor,
            request,
            reply,
            utcnow=utcnow,
            read_refusal=self._read_refusal,
            headers=headers,
            shown_body=shown_body,
            is_known=self.is_known,
        )
        self._was_refused |= not error.is_foreign and bool(reply.body)
        if isinstance(error, AuthenticationError):
            error.is_passing = self.is_proven and request.purpose is Purpose.POLL
        return error

    def token_nowait(self) -> Token | None:
        """Return the token to sign with, or None where callers have to wait for one."""
        if self._tokens is None:
            return None
        cache, source = self._tokens
        return cache.peek(source)

    async def token(self, *, is_poll: bool = False) -> Token | None:
        """Wait for the token to sign with; return None where the account has fixed headers.

        Raises as `TokenCache.get`; that credentials are refused passes as in `refusal`.
        """
        if self._tokens is None:
            return None
        cache, source = self._tokens
        try:
            return await cache.get(source)
        except AuthenticationError as error:
            error.is_passing = self.is_proven and is_poll
            raise

    def report_token(self, token: Token | None, *, is_accepted: bool) -> None:
        """Report to the token cache whether the vendor accepted `token`, or answered 401."""
        if self._tokens is not None and token is not None:
            cache, source = self._tokens
            (cache.accept if is_accepted else cache.reject)(source, token)
            self.accepted = token if is_accepted else None

    def __repr__(self) -> str:
        return f"<Account {self.name}>"
