"""The vocabulary of what may go wrong in a world, and how often it does where it is drawn. Pure."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

#: Everything that can be on or off in a world, with what it means.
FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Starts
        "start.not_sent": "the connection is refused: nothing left",
        "start.refused": "a final 4xx",
        "start.forbidden": "a 403, or a 402: the row may be sent later",
        "start.unauthorized": "a 401 though the credentials are good",
        "start.throttled": "a 429, with or without Retry-After",
        "start.unavailable": "a 503, before anything is done",
        "start.lost_before": "the request is lost on its way, and so is the reply",
        "start.lost_after": "the reply to an accepted start is lost",
        "start.error_before": "a 500 or 502, and nothing was done",
        "start.error_after": "a 500 or 502 after the run was accepted",
        "start.garbled": "an accepted start is answered with what cannot be read",
        "start.no_slot": "a 409 that asks to come back later",
        "start.foreign": "the client itself breaks, before anything is sent",
        # Polls
        "poll.not_sent": "the connection is refused",
        "poll.lost": "the reply is lost",
        "poll.error": "a 500",
        "poll.throttled": "a 429",
        "poll.unauthorized": "a 401 though the credentials are good",
        "poll.garbled": "an answer that cannot be read",
        "poll.gone": "a 404 or 403 that is final",
        "poll.stale": "an answer of some seconds ago",
        "list.partial": "a list leaves some of its runs out",
        "list.empty": "a list leaves all of its runs out",
        # Tokens
        "token.lost": "the reply of the token endpoint is lost",
        "token.error": "the token endpoint answers with 500",
        "token.garbled": "the token endpoint answers with a page",
        "token.revoked": "a token ceases before its time",
        "token.short": "tokens live for seconds",
        # The journal
        "journal.record": "changes cannot be recorded",
        "journal.claim": "rows cannot be claimed",
        "journal.open": "the journal cannot be begun, or its open rows cannot be read",
        "journal.row": "some rows cannot be recorded, each at one of its states",
        "journal.slow": "calls take seconds",
        # The input
        "input.twice": "keys stand twice",
        "input.fault": "lines are no rows",
        "input.type": "something is no row at all",
        "input.error": "the input raises",
        "input.unwritable": "rows that cannot be written down",
        # Who reads
        "reader.cancelled": "whoever reads is cancelled, once, twice or three times",
        "reader.leaves": "whoever reads leaves, properly or by dropping the iteration",
        "reader.slow": "whoever reads takes its time",
        "batch.stopped": "the batch is stopped, once or twice",
        "task.cancelled": "a task of the library is cancelled by somebody else",
        "poller.cancelled": "a poll worker is cancelled by somebody else",
        "results.cancelled": "whoever writes results is cancelled",
        # The process
        "process.killed": "the process is killed between two steps",
        "pool.closed": "the pool is closed in the middle",
        "clock.jumps": "the wall clock jumps",
        "timers.late": "timers are called late, so that several are due at once",
        "gc": "the collector runs at some steps",
    }
)


#: What befalls a life once at most, and is drawn for each.
_ONCE: Final = frozenset(
    {
        *("reader.cancelled", "reader.leaves", "batch.stopped", "task.cancelled", "poller.cancelled"),
        "results.cancelled",
        *("process.killed", "pool.closed", "clock.jumps", "gc"),
    }
)


class Faults:
    """Draws whether a fault befalls what is done now. `rates` has those that are on."""

    def __init__(self, rates: Mapping[str, float], stream: Callable[[str], Random]) -> None:
        self._rates = rates
        # Each has a stream of its own: to leave one out changes the others as little as can be.
        self._random = {name: stream(f"fault {name}").random for name in rates}
        #: Whether nothing goes wrong for the time being.
        self.is_calm = False
        #: How many of each befell.
        self.count: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return not self.is_calm and name in self._rates

    def hit(self, name: str) -> bool:
        """Draw whether the fault befalls, and count it."""
        rate = self._rates.get(name)
        if rate is None or self.is_calm or self._random[name]() >= rate:
            return False
        self.count[name] = self.count.get(name, 0) + 1
        return True


def draw_rates(chance: Random) -> dict[str, float]:
    """Draw which faults are on, few or many of them, and how often each befalls."""
    share = chance.choice((0.0, 0.05, 0.1, 0.2, 0.4))
    rates = {}
    for name in FAULTS:
        rate = 10 ** chance.uniform(-1.7, -0.2)
        if chance.random() < share:
            rates[name] = 0.7 if name in _ONCE else rate
    return rates
