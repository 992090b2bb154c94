"""What the fake servers of most vendors have in common: endpoints, counters, and no tokens."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from .plan import RunPlan
from .routes import Route


class FakeVendor(ABC):
    """A `FakeServer` to subclass: its `__init__` sets `_routes`, most simply to what `make_routes` returns.

    Handlers count in `counts`.
    """

    #: The vendor's name, as in a run reference.
    vendor: ClassVar[str]
    #: Names that `statistics` has before anything was counted, in addition to those of all fake servers.
    counters: ClassVar[Sequence[str]] = ()

    _routes: Sequence[Route] = ()

    def __init__(self, plan: RunPlan | None) -> None:
        self.plan = RunPlan() if plan is None else plan
        self.counts: Counter[str] = Counter()

    @property
    def routes(self) -> Sequence[Route]:
        """Return all endpoints."""
        return self._routes

    def statistics(self) -> Mapping[str, int]:
        """Return the counters: `token_requests`, `starts` (accepted ones), `polls`, `refused_<status>` and others."""
        return dict.fromkeys(("token_requests", "starts", "polls", *self.counters), 0) | dict(self.counts)

    @abstractmethod
    def environment(self, url: str) -> Mapping[str, str]:
        """Return the environment variables for a client of this server at `url`, credentials included."""

    def revoke(self, authorization: str) -> bool:  # noqa: ARG002 - for vendors that have tokens
        """Return False: there are no tokens."""
        return False

    @abstractmethod
    def ended_at(self, run_id: str) -> float | None:
        """Return the server's second at which a run ends, also before then; None when unknown, or for never."""


class FakeVendorWithInput(FakeVendor):
    """A `FakeVendor` whose runs take an object from their callers: starts are counted by its member `key` as well."""

    def __init__(self, plan: RunPlan | None) -> None:
        super().__init__(plan)
        self._starts_by_key: Counter[str] = Counter()

    @property
    def starts_by_key(self) -> Mapping[str, int]:
        """Return how many runs were started for each `key`: more than one if a client started something twice."""
        return MappingProxyType(self._starts_by_key)

    def count_start(self, key: object = None) -> None:
        """Count an accepted start, and the `key` that it was given."""
        self.counts["starts"] += 1
        if key is not None:
            self._starts_by_key[str(key)] += 1
