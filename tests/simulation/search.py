"""Runs the worlds of many seeds."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from .plan import draw
from .shrink import Failure, shrink
from .world import Result, run, surroundings

#: Rules that are known to be broken, until they are mended.
KNOWN: Final[frozenset[str]] = frozenset()


@define
class Found:
    """What came of some worlds."""

    worlds: int = 0
    lives: int = 0
    steps: int = 0
    #: How often each fault befell.
    befell: dict[str, int] = field(factory=dict)
    #: Seeds that broke a rule that is known to be broken, by rule.
    known: dict[str, list[int]] = field(factory=dict)
    failures: list[Failure] = field(factory=list)

    def add(self, other: "Found") -> None:
        """Take in what came of others."""
        self.worlds += other.worlds
        self.lives += other.lives
        self.steps += other.steps
        for name, count in other.befell.items():
            self.befell[name] = self.befell.get(name, 0) + count
        for kind, seeds in other.known.items():
            self.known.setdefault(kind, []).extend(seeds)
        self.failures += other.failures


def search(
    seeds: Iterable[int],
    *,
    journal: str | None = None,
    cuts: Mapping[str, Any] | None = None,
    known: frozenset[str] = KNOWN,
    most_failures: int = 3,
    emit: Callable[[Result], object] | None = None,
) -> Found:
    """Run the worlds of seeds; those that fail are cut down, at most so many of them."""
    found = Found()
    with surroundings():
        for seed in seeds:
            result = run(draw(seed, journal=journal).cut(cuts or {}))
            found.worlds += 1
            found.lives += result.lives
            found.steps += result.steps
            for name, count in result.befell.items():
                found.befell[name] = found.befell.get(name, 0) + count
            if emit is not None:
                emit(result)
            broken = result.broken
            if broken is None:
                continue
            if broken.kind in known:
                found.known.setdefault(broken.kind, []).append(seed)
                continue
            if cuts is None:
                found.failures.append(shrink(result, journal=journal))
            else:
                found.failures.append(Failure(seed, journal, broken.kind, str(broken), cuts, result))
            if len(found.failures) >= most_failures:
                break
    return found
