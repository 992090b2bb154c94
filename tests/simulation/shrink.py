"""Cuts a failing world down, and tells of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from .plan import Plan, draw
from .world import Result, run

_MOST: Final = 200
_SIMPLER: Final[Mapping[str, Any]] = {
    "batches": 1,
    "direct": 0,
    "waiters": 0.0,
    "by_hand": 0.0,
    "has_lists": False,
    "has_webhooks": False,
    "has_tokens": False,
    "turns": 0,
    "latency": 0.01,
    "disk": 0.001,
    "lasts": 1.0,
    "ahead": 256,
}
_SHOWN: Final = 60


@frozen
class Failure:
    """A world that failed, and what is left of it when all that can be left out is left out."""

    seed: int
    journal: str | None
    kind: str
    words: str
    cuts: Mapping[str, Any]
    result: Result

    def lines(self) -> Iterator[str]:
        """Say what broke, by which shortest prefix, and how to run it alone."""
        plan = self.result.plan
        yield f"seed {self.seed}: {self.words}"
        yield (
            f"  its shortest failing prefix: {self.result.steps} steps in {self.result.lives} lives, "
            f"{plan.rows} rows, faults: {', '.join(plan.rates) or 'none'}"
        )
        trace = self.result.trace
        if len(trace) > _SHOWN:
            yield f"  ... {len(trace) - _SHOWN} lines before"
        for at, number, words in trace[-_SHOWN:]:
            yield f"  {at:10.3f} {number:6} {words}"
        yield "  run it alone:"
        journal = "" if self.journal is None else f" --journal {self.journal}"
        alone = f"python -m benchmarks worlds --first {self.seed} --seeds 1{journal}"
        yield f"    {alone}"
        yield f"    {alone} --cut '{json.dumps(self.cuts)}'"


def shrink(result: Result, *, journal: str | None = None) -> Failure:
    """Cut a world that failed, as long as it fails in the same way. To be called within `surroundings`."""
    assert result.broken is not None
    kind, seed = result.broken.kind, result.plan.seed
    whole = draw(seed, journal=journal)
    cuts: dict[str, Any] = {}
    best, tries = result, 0
    is_shorter = True
    while is_shorter and tries < _MOST:
        is_shorter = False
        for change in _changes(best):
            tries += 1
            if tries > _MOST:
                break
            found = run(whole.cut({**cuts, **change}))
            if found.broken is not None and found.broken.kind == kind:
                cuts.update(change)
                best, is_shorter = found, True
                break
    assert best.broken is not None
    return Failure(seed, journal, kind, str(best.broken), cuts, best)


def _changes(result: Result) -> Iterator[Mapping[str, Any]]:
    """Give what may be left out, what cuts most first."""
    plan = result.plan
    if plan.lives > 1:
        yield {"lives": min(plan.lives - 1, result.lives)}
    faults = list(plan.rates)
    if len(faults) > 3:
        for half in (faults[: len(faults) // 2], faults[len(faults) // 2 :]):
            yield {"faults": half}
    for name in faults:
        yield {"faults": [each for each in faults if each != name]}
    for rows in sorted({1, plan.rows // 2, plan.rows - 1}):
        if 0 < rows < plan.rows:
            yield {"rows": rows}
    for name, value in _SIMPLER.items():
        if getattr(plan, name) != value:
            yield {name: value}


def replay(seed: int, cuts: Mapping[str, Any], *, journal: str | None = None) -> Plan:
    """Return the world of a seed, cut."""
    return draw(seed, journal=journal).cut(cuts)
