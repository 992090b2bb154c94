"""The requests of one process, as they are seen from outside: how many, when, and with which token."""

import math
from collections.abc import Mapping

from aioagents.batch import BatchRow
from aioagents.model import Purpose, Reply, Request
from aioagents.pool import PoolStatistics

from .checks import Checks
from .loop import SimLoop
from .plan import Plan
from .polls import Polls

_UNAUTHORIZED = 401
_LITTLE = 1e-6


class Traffic:
    """Counts what a pool sends, and sees that it keeps its bounds."""

    def __init__(self, plan: Plan, loop: SimLoop, checks: Checks) -> None:
        self._plan = plan
        self._loop = loop
        self._checks = checks
        #: Requests under way, and those for tokens.
        self.inside = self.tokens_inside = 0
        #: Replies to starts that were read.
        self.starts = 0
        self._requests = self._token_requests = 0
        self._last_start = -math.inf
        # The token as this process has it.
        self._token = ""
        self._token_good_until = -math.inf
        self._rejected: set[str] = set()

    def begins(self, request: Request) -> None:
        """Take in that the pool sends a request."""
        checks = self._checks
        self._requests += 1
        if request.purpose is not Purpose.TOKEN:
            if self.inside >= self._plan.limits.requests_at_once:
                checks.fail("bound", f"{self.inside + 1} requests at once")
            self.inside += 1
            return
        self._token_requests += 1
        if self.tokens_inside:
            checks.fail("token request too many", "two at one time")
        if self._loop.time() < self._token_good_until and self._token not in self._rejected:
            checks.fail("token request too many", f"{self._token} is good until {self._token_good_until}")
        self.tokens_inside += 1

    def ends(self, request: Request) -> None:
        """Take in that a request is over."""
        if request.purpose is Purpose.TOKEN:
            self.tokens_inside -= 1
        else:
            self.inside -= 1

    def replied(self, request: Request, headers: Mapping[str, str], reply: Reply) -> None:
        """Take in what a request was answered with."""
        if request.purpose is Purpose.TOKEN:
            if reply.is_success and b"<" not in reply.body:
                self._token, _, lifetime = reply.body.decode().partition(" ")
                # From four fifths of its life on a token is renewed ahead of time.
                self._token_good_until = self._loop.time() + 0.8 * float(lifetime) - _LITTLE
        elif reply.status == _UNAUTHORIZED:
            self._rejected.add(headers.get("Authorization", "").removeprefix("Bearer "))

    def start_called(self, row: BatchRow) -> None:
        """Take in that a start is asked for."""
        rate = self._plan.batch["starts_per_second"]
        if row.key.startswith("d") or rate is None or self._plan.batches > 1:
            return
        now = self._loop.time()
        if now < self._last_start + 1.0 / rate - _LITTLE:
            self._checks.fail("bound", f"starts {now - self._last_start} s apart at {rate} a second")
        self._last_start = now

    def recount(self, pool: PoolStatistics, polls: Polls | None) -> None:
        """Compare the pool's own figures with what is seen; without `polls`, which a closed pool makes no more."""
        limits, checks = self._plan.limits, self._checks
        counts = [
            ("requests", pool.requests, self._requests),
            ("token requests", pool.token_requests, self._token_requests),
            ("starts", pool.starts, self.starts),
        ]
        counts += [("under way", account.under_way, self.inside) for account in pool.accounts.values()]
        if polls is not None:
            counts.append(("polls", pool.polling.polls, polls.count))
            counts.append(("polls under way", pool.polling.polling, polls.inside))
            if max(pool.polling.pollers, polls.inside) > limits.pollers:
                checks.fail("bound", f"{pool.polling.pollers} poll workers, {polls.inside} polls at once")
        for name, counted, seen in counts:
            if counted != seen:
                checks.fail("recount", f"{name}: {counted} in the figures, {seen} seen")
