"""Deliveries that came before. Pure: the time is a parameter."""

import math
from collections import OrderedDict
from typing import Final

_ID_SECONDS: Final = 86_400.0  # for which a vendor may repeat a delivery
_MOST_IDS: Final = 64  # of one run


class SeenIds:
    """Remembers ids for `seconds` each, the latest `most` of them."""

    __slots__ = ("_most", "_seconds", "_seen")

    def __init__(self, *, seconds: float = 300.0, most: int = 100_000) -> None:
        self._seconds = seconds
        self._most = most
        self._seen: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def has(self, key: str, now: float) -> bool:
        """Return whether `key` is remembered."""
        while self._seen and next(iter(self._seen.values())) <= now - self._seconds:
            self._seen.popitem(last=False)
        return key in self._seen

    def add(self, key: str, now: float) -> bool:
        """Remember `key` and return True; return False when it was remembered already."""
        if self.has(key, now):
            return False
        self._seen[key] = now
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True


class SeenDeliveries:
    """Recognizes repeated deliveries of one run, and bounds the polls that they may cost.

    A delivery with an id of its own is repeated when that id came before. One without is repeated when its content
    came in the last `seconds`, and nothing of the other kind, news or none, came since: once a delivery said that the
    run goes on, a second pause is news.
    """

    __slots__ = ("_contents", "_ids", "_is_news", "_most", "_news", "_seconds")

    def __init__(self, *, most: int, seconds: float = 300.0) -> None:
        self._most = most
        self._seconds = seconds
        self._ids: SeenIds | None = None  # few vendors send ids, and there may be a million of these objects
        self._contents: dict[bytes, float] = {}  # the latest deliveries, all of them news or none
        self._is_news = True
        self._news: tuple[float, ...] = ()

    def is_repeated(self, delivery_id: str, content: bytes, now: float) -> bool:
        """Return whether the delivery came before."""
        if delivery_id:
            return self._ids is not None and self._ids.has(delivery_id, now)
        return now - self._contents.get(content, -math.inf) < self._seconds

    def may_add_news(self, now: float) -> bool:
        """Return whether one more delivery may cost a poll: `most` in `seconds` may."""
        self._news = tuple(at for at in self._news if now - at < self._seconds)
        return len(self._news) < self._most

    def add(self, delivery_id: str, content: bytes, now: float, *, is_news: bool) -> None:
        """Remember a delivery that is not repeated."""
        if is_news is not self._is_news:
            self._contents.clear()
            self._is_news = is_news
        if is_news:
            self._news += (now,)
        if delivery_id:
            self._ids = self._ids if self._ids is not None else SeenIds(seconds=_ID_SECONDS, most=_MOST_IDS)
            self._ids.add(delivery_id, now)
            return
        self._contents.pop(content, None)
        self._contents[content] = now
        if len(self._contents) > self._most:
            del self._contents[next(iter(self._contents))]
