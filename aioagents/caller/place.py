"""The place of a long request in its account's gate."""

from collections.abc import Callable

from ..transport import Gate


class Place:
    """The place of a long request: given back once it was sent, not when it is answered."""

    def __init__(self, gate: Gate, on_sent: Callable[[], None] | None, *, is_look: bool) -> None:
        self._gate: Gate | None = gate
        self._on_sent = on_sent
        self._is_look = is_look

    def sent(self) -> None:
        """Take notice that the first byte is about to leave."""
        self.leave(is_look=self._is_look)
        if self._on_sent is not None:
            self._on_sent()

    def leave(self, *, is_look: bool) -> None:
        """Give the place back, once."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave(is_look=is_look)
