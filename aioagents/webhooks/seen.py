"""Ids of deliveries that came before. Pure: the time is a parameter."""

from collections import OrderedDict


class SeenIds:
    """Remembers ids for `seconds` each, the latest `most` of them."""

    __slots__ = ("_most", "_seconds", "_seen")

    def __init__(self, *, seconds: float = 300.0, most: int = 100_000) -> None:
        self._seconds = seconds
        self._most = most
        self._seen: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, key: str, now: float) -> bool:
        """Remember `key` and return True; return False when it was remembered already."""
        while self._seen and next(iter(self._seen.values())) <= now - self._seconds:
            self._seen.popitem(last=False)
        if key in self._seen:
            return False
        self._seen[key] = now
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True
