"""Bounds what the bodies of all replies under way have in memory. Pure: it says who may receive."""

from collections import OrderedDict
from typing import Final, Protocol

#: Bodies up to this size are not counted.
SMALL: Final = 64 * 1024


class Receiver(Protocol):
    """What receives a body."""

    def resume(self) -> None:
        """Receive again."""
        ...


class ReplyBudget:
    """The bytes that bodies may have together, `most`; beyond that only one of them grows at a time.

    So each is received in the end, whatever the others do, and no more than `most` and one whole body are in memory.
    """

    __slots__ = ("_held", "_most", "_preferred", "_sizes", "_waiting")

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._sizes: dict[Receiver, int] = {}
        self._waiting: OrderedDict[Receiver, None] = OrderedDict()
        self._preferred: Receiver | None = None

    def __repr__(self) -> str:
        return f"<ReplyBudget {self._held} of {self._most} bytes, waiting={len(self._waiting)}>"

    def set_size(self, receiver: Receiver, size: int) -> bool:
        """Record that a body has so many bytes now; return whether it may grow.

        Otherwise `receiver` is resumed when it may.
        """
        self._held += size - self._sizes.get(receiver, 0)
        self._sizes[receiver] = size
        if self._held <= self._most:
            return True
        if self._preferred is None:
            self._preferred = receiver
        if receiver is self._preferred:
            return True
        self._waiting[receiver] = None
        return False

    def free(self, receiver: Receiver) -> None:
        """Forget a body; harmless for one that is not known."""
        self._held -= self._sizes.pop(receiver, 0)
        self._waiting.pop(receiver, None)
        if receiver is self._preferred:
            self._preferred = None
        while self._waiting and (self._held <= self._most or self._preferred is None):
            following, _ = self._waiting.popitem(last=False)
            if self._held > self._most:
                self._preferred = following
            following.resume()
