"""The place of a long request in its account's gate."""

from collections.abc import Callable

from ..transport import Limiter


class Permit:
    """The place of a long request: given back once it was sent, not when it is answered."""

    def __init__(self, limiter: Limiter, on_sent: Callable[[], None] | None, *, is_poll: bool) -> None:
        self._limiter: Limiter | None = limiter
        self._on_sent = on_sent
        self._is_look = is_poll

    def sent(self) -> None:
        """Note that the first byte is about to leave."""
        self.release(is_poll=self._is_look)
        if self._on_sent is not None:
            self._on_sent()

    def release(self, *, is_poll: bool) -> None:
        """Give the place back, once."""
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.release(is_poll=is_poll)
