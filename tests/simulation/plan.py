"""What one seed stands for: the settings of a world, drawn before it begins. Pure."""

from collections.abc import Mapping
from random import Random
from typing import Any

import attrs
from attrs import frozen

from aioagents import Growing, PoolLimits, RetryPolicy, Steady
from aioagents.polling import Cadence

from .faults import draw_rates


@frozen(kw_only=True)
class Plan:
    """A world before it begins. What is drawn while it runs comes from streams named by the seed."""

    seed: int
    rows: int
    #: Faults that are on, with how often each befalls.
    rates: Mapping[str, float]
    #: How many processes live with faults, before those that have none.
    lives: int
    journal: str
    #: How many batches run over one journal.
    batches: int
    batch: Mapping[str, Any]
    ahead: int
    outage: int
    limits: PoolLimits
    retry: RetryPolicy
    cadence: Cadence
    has_tokens: bool
    has_lists: bool
    has_webhooks: bool
    is_503_safe: bool
    token_life: float
    #: Middle of the time for half a round trip, of a call of the journal, and of a run.
    latency: float
    disk: float
    lasts: float
    #: Most turns of the loop before an answer.
    turns: int
    #: Share of runs that somebody else waits for, and how many starts are made beside the batches.
    waiters: float
    direct: int
    #: Share of unknown rows that are settled by hand between two lives.
    by_hand: float
    #: Whether results are written into a file.
    has_results: bool
    #: Share of runs that are over when their start is answered, and what the client returns of which runs: handles of
    #: all, runs where they have ended, or, against its contract, of all.
    over_at_once: float = 0.0
    answers: str = "handles"
    #: Whether the client looks up starts whose reply was lost.
    finds_starts: bool = False
    #: Most steps of one life; for cutting a failing world short.
    budget: int = 200_000

    def cut(self, cuts: Mapping[str, Any]) -> "Plan":
        """Return a smaller world: `cuts` has members with other values; `faults` are those that stay on."""
        given = dict(cuts)
        faults = given.pop("faults", None)
        if faults is not None:
            given["rates"] = {name: self.rates[name] for name in faults}
        return attrs.evolve(self, **given)

    def stream(self, name: str) -> Random:
        """Return a source of chance that depends on the seed and the name alone."""
        return Random(f"{self.seed}:{name}")


def draw(seed: int, *, journal: str | None = None) -> Plan:
    """Draw the world of a seed."""
    chance = Random(f"{seed}:plan")
    pick, random = chance.choice, chance.random

    def maybe(share: float, value: Any) -> Any:
        return value if random() < share else None

    kind = pick(("model",) * 8 + ("none",))
    cadence: Cadence = (
        Steady(pick((0.5, 2.0, 10.0)))
        if random() < 0.5
        else Growing(pick((0.2, 1.0)), pick((1.25, 2.0)), pick((5.0, 30.0)))
    )
    rates = draw_rates(chance)
    plan = Plan(
        seed=seed,
        rows=pick((1, 2, 3, 5, 8, 8, 12, 12, 16, 24)),
        rates=rates,
        lives=pick((1, 1, 2, 3)),
        journal=kind,
        batches=2 if kind == "model" and random() < 0.15 else 1,
        batch={
            "in_flight": pick((1, 2, 4, 8, 100)),
            "sending": pick((1, 2, 3, 5, 64)),
            "starts_per_second": maybe(0.3, pick((0.5, 2.0, 10.0))),
            "on_unknown": pick(("report", "report", "resend")),
            "timeout": maybe(0.2, pick((0.0, 3.0, 30.0))),
            "grace": pick((0.0, 0.1, 1.0, 5.0, 5.0, 60.0)),
        },
        ahead=pick((2, 4, 8, 8, 256)),
        outage=pick((2, 3, 8)),
        limits=PoolLimits(
            requests_at_once=pick((1, 2, 4, 100)),
            requests_per_second=maybe(0.2, pick((2.0, 10.0))),
            polls_per_second=maybe(0.1, pick((1.0, 5.0))),
            pollers=pick((1, 2, 3, 64)),
        ),
        retry=RetryPolicy(attempts=pick((1, 2, 5)), first=pick((0.1, 0.5)), reserve=pick((0.0, 2.0, 30.0))),
        cadence=cadence,
        has_tokens=random() < 0.4,
        has_lists=random() < 0.3,
        has_webhooks=random() < 0.15,
        is_503_safe=random() < 0.5,
        token_life=pick((10.0, 60.0, 3600.0)),
        latency=pick((0.0, 0.01, 0.2, 2.0)),
        disk=pick((0.0, 0.001, 0.02, 0.5)),
        lasts=pick((0.0, 1.0, 10.0, 60.0)),
        turns=pick((0, 0, 1, 3)),
        waiters=pick((0.0, 0.0, 0.1, 0.5)),
        direct=pick((0, 0, 0, 1, 4)),
        by_hand=pick((0.0, 0.0, 0.5)),
        has_results=random() < 0.15,
    )
    is_unsteady = plan.has_lists and random() < 0.2  # lists are few, and would hardly ever leave runs out
    plan = attrs.evolve(
        plan,
        rates={**rates, **dict.fromkeys(("list.partial", "list.empty"), 0.3)} if is_unsteady else rates,
        over_at_once=pick((*(0.0,) * 6, 0.3, 1.0)),
        answers=pick((*("handles",) * 6, "ended runs", "runs")),
        finds_starts=random() < 0.3,
    )
    if journal is None or journal == plan.journal:
        return plan
    batches = plan.batches if journal == "model" else 1
    # A slow disk would keep a real journal from being closed in time.
    return attrs.evolve(plan, journal=journal, batches=batches, by_hand=0.0, disk=min(plan.disk, 0.02))
