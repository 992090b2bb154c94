"""Learns for how long a server keeps idle connections. Pure."""

import math
from typing import Final

#: A start may take a connection that was idle for so many seconds where nothing is known of the server.
UNKNOWN: Final = 0.5
#: A start takes a connection only within this share of the time for which the server keeps it, since the server may
#: close it while the request is on its way.
_SHARE: Final = 0.5
#: Where so many connections in a row outlived the shortest known idle time, that one had another cause.
_FORGIVEN: Final = 20


class IdleTimes:
    """What was seen of idle connections to one host, and for how long they may be idle to be used again."""

    __slots__ = ("_closed_after", "_contradictions", "_keep_alive", "_kept", "_promised", "for_starts")

    def __init__(self, keep_alive: float) -> None:
        self._keep_alive = keep_alive
        self._promised: float | None = None
        self._kept = UNKNOWN / _SHARE
        self._closed_after = math.inf
        self._contradictions = 0
        self._decide()

    def __repr__(self) -> str:
        return f"<IdleTimes for polls {self.for_polls:g} s, for starts {self.for_starts:g} s>"

    @property
    def for_polls(self) -> float:
        """Return for how many seconds a connection may have been idle to be used for what may be repeated."""
        return self._keep_alive

    def note_promise(self, seconds: float) -> None:
        """Note that the server says it keeps idle connections for so many seconds."""
        if self._promised is None or seconds < self._promised:
            self._promised = seconds
            self._keep_alive = min(self._keep_alive, seconds)
            self._decide()

    def note_kept(self, idle: float) -> None:
        """Note that a connection was used well after it had been idle for so many seconds."""
        if idle > self._closed_after:
            self._contradictions += 1
            if self._contradictions >= _FORGIVEN:
                self._contradictions = 0
                self._closed_after = math.inf
                self._decide()
        if idle > self._kept:
            self._kept = idle
            self._decide()

    def note_closed(self, idle: float) -> None:
        """Note that the server closed a connection that had been idle for so many seconds."""
        self._contradictions = 0
        if idle < self._closed_after:
            self._closed_after = idle
            self._decide()

    def _decide(self) -> None:
        expected = self._kept if self._promised is None else self._promised
        #: For how many seconds a connection may have been idle to be used for what must not be sent twice.
        self.for_starts = _SHARE * min(expected, self._closed_after, self._keep_alive)
