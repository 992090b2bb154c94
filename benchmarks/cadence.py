"""Mean delay and polls a run of `Learned`, beside fixed rules and the best possible schedule, in simulated time.

Nothing sleeps: a run is a duration drawn from a seed, and a cadence is asked for one gap after another. Runs are seen
as a pool sees them: at polls alone, so that an end lies somewhere between two of them.
"""

import argparse
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any, Final

from attrs import field, frozen

from aioagents.polling import Cadence, Growing, Learned, Steady
from aioagents.polling.schedule import Cost

from .best_schedule import Sample, best_costs, delay_at
from .figures import say, whole

#: Durations of a run's states, one after another: `running`, and where it pauses, `paused` and `running` again.
Draw = Callable[[random.Random], Sequence[tuple[str, float]]]

_TAUGHT: Final = (0.25, 1, 5)
_SAMPLE: Final = 20_000  # durations of which the best schedule is made
_PAUSE_SHARE: Final = 0.3
_HALF: Final = 2.5
_AFTER: Final = 1.5


def _lognormal(median: float, sigma: float) -> Draw:
    return lambda chance: [("running", median * math.exp(chance.gauss(0, sigma)))]


def _pausing(chance: random.Random) -> Sequence[tuple[str, float]]:
    running = ("running", 60 * math.exp(chance.gauss(0, 0.5)))
    if chance.random() >= _PAUSE_SHARE:
        return [running]
    return [
        running,
        ("paused", chance.uniform(3600, 4 * 3600)),
        ("running", 60 * math.exp(chance.gauss(0, 0.5))),
    ]


def _narrow(chance: random.Random) -> Sequence[tuple[str, float]]:
    return [("running", chance.uniform(270, 330))]


def _peaks(chance: random.Random) -> Sequence[tuple[str, float]]:
    return [("running", chance.choice([15, 90, 400]) * math.exp(chance.gauss(0, 0.15)))]


def _exponential(chance: random.Random) -> Sequence[tuple[str, float]]:
    return [("running", chance.expovariate(1 / 60))]


DISTRIBUTIONS: Final[dict[str, Draw]] = {
    "lognormal, median 60 s, sigma 1": _lognormal(60, 1),
    "30 % pause for 1 to 4 h": _pausing,
    "300 s +- 10 %": _narrow,
    "three peaks": _peaks,
    "exponential, mean 60 s": _exponential,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--runs", type=whole, default=2000, help="by which a cadence is measured")
    parser.add_argument(
        "--taught",
        type=whole,
        default=200,
        help="runs that are seen first; also a quarter, and five times as many",
    )
    parser.add_argument(
        "--nodes", type=whole, default=900, help="of the grid on which the best schedule is sought"
    )
    parser.add_argument("--cap", type=float, default=30.0, help="the longest gap, in seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", metavar="FILE", help="draw delay over polls to FILE.png and FILE.svg")


def run(options: argparse.Namespace) -> None:
    """Measure each distribution; the last line has the worst ratios after as many runs as were taught."""
    reports = []
    for name, draw in DISTRIBUTIONS.items():
        report = _Report.measured(name, draw, options)
        report.show()
        reports.append(report)
    _show_change(options)
    if options.plot:
        _plot(reports, Path(options.plot))
    worst = max(report.over_best[options.taught] for report in reports)
    gain = min(report.under_growing[options.taught] for report in reports)
    say(f"cadence: after {options.taught} runs at most {worst:.2f} times the best possible delay, "
        f"and at least {gain:.2f} times less than growing gaps")  # fmt: skip


@frozen
class _Seen:
    """What a cadence cost: means a run, and the delay that one in twenty changes exceeds."""

    cost: Cost
    p95: float


def _follow(cadence: Cadence, states: Sequence[tuple[str, float]], chance: random.Random) -> Iterator[float]:
    """Poll a run from state to state; yield the delay of each poll that saw a change, and NaN for the others."""
    late = 0.0  # how long a state had lasted when it was seen first
    for key, duration in states:
        at = 0.0  # since the state was seen
        while True:
            before = at
            at += cadence.gap(at, key=key, chance=chance.random())
            if late + at >= duration:
                break
            if isinstance(cadence, Learned):
                cadence.observe(at, key=key, ended=False, since=before)
            yield math.nan
        if isinstance(cadence, Learned):
            cadence.observe((before + at) / 2, key=key, since=before)
        late = max(late + at - duration, 0.0)
        yield late


def _measure(cadence: Cadence, draws: Iterable[Sequence[tuple[str, float]]], chance: random.Random) -> _Seen:
    """Follow runs; a `Learned` learns from them as well."""
    polls = runs = 0
    delays: list[float] = []
    for states in draws:
        runs += 1
        for delay in _follow(cadence, states, chance):
            polls += 1
            if not math.isnan(delay):
                delays.append(delay)
    return _Seen(Cost(polls / runs, mean(delays)), sorted(delays)[int(0.95 * len(delays))])


def _draws(draw: Draw, runs: int, chance: random.Random) -> list[Sequence[tuple[str, float]]]:
    return [draw(chance) for _ in range(runs)]


def _rules(make: Callable[[float], Cadence], draw: Draw, options: argparse.Namespace) -> list[Cost]:
    """Return what a fixed rule costs, at many scales of time."""
    chance = random.Random(options.seed + 1)
    draws = _draws(draw, max(options.runs // 3, 20), chance)
    scales = (0.05 * 1.6**number for number in range(14))
    return sorted(_measure(make(scale), draws, chance).cost for scale in scales)


def _best(draw: Draw, options: argparse.Namespace) -> list[Cost]:
    """Return the least possible costs; states are followed one after another, each from its beginning."""
    chance = random.Random(0)
    durations: dict[str, list[float]] = {}
    runs = _draws(draw, _SAMPLE, chance)
    for states in runs:
        for key, duration in states:
            durations.setdefault(key, []).append(duration)
    changes = sum(len(found) for found in durations.values())
    parts = [
        (
            len(found) / _SAMPLE,
            len(found) / changes,
            best_costs(Sample.of(found), cap=options.cap, nodes=options.nodes),
        )
        for found in durations.values()
    ]
    if len(parts) == 1:
        return parts[0][2]
    # Any mixture of two best schedules may be the best of both: take the lower left edge of all.
    costs = [
        Cost(sum(a * cost.polls for (a, _, _), cost in zip(parts, chosen, strict=True)),
             sum(b * cost.delay for (_, b, _), cost in zip(parts, chosen, strict=True)))
        for chosen in ((one, two) for one in parts[0][2] for two in parts[1][2])
    ]  # fmt: skip
    edge: list[Cost] = []
    for cost in sorted(costs):
        if not edge or cost.delay < edge[-1].delay:
            edge.append(cost)
    return edge


@frozen(kw_only=True)
class _Report:
    """One distribution: what the cadences cost on it."""

    name: str
    best: list[Cost] = field(repr=False)
    growing: list[Cost] = field(repr=False)
    steady: list[Cost] = field(repr=False)
    fixed: dict[str, _Seen]
    learned: dict[int, _Seen]
    curve: list[Cost] = field(repr=False)

    @classmethod
    def measured(cls, name: str, draw: Draw, options: argparse.Namespace) -> "_Report":
        """Measure all cadences on a distribution."""
        chance = random.Random(options.seed)
        fresh = _draws(draw, options.runs, chance)
        fixed: dict[str, Cadence] = {
            "Steady(5)": Steady(5.0),
            "Steady(30)": Steady(30.0),
            "growing 1 to 20 s, x1.5": Growing(first=1.0, factor=1.5, cap=20.0),
            "growing to 60 s, x2": Growing(first=1.0, factor=2.0, cap=60.0),
        }
        seen = {rule: _measure(cadence, fresh, chance) for rule, cadence in fixed.items()}
        polls = seen["growing 1 to 20 s, x1.5"].cost.polls
        return cls(
            name=name,
            best=_best(draw, options),
            growing=_rules(lambda scale: Growing(first=scale, factor=1.5, cap=20 * scale), draw, options),
            steady=_rules(lambda scale: Steady(5 * scale), draw, options),
            fixed=seen,
            learned={
                taught: _learned(draw, taught, polls, options)
                for taught in (int(share * options.taught) for share in _TAUGHT)
            },
            curve=sorted(
                _learned(draw, options.taught, polls * scale, options).cost
                for scale in (0.5, 0.7, 1.0, 1.4, 2.0)
            ),
        )

    @property
    def over_best(self) -> dict[int, float]:
        """Return by how much the delay exceeds the least possible at as many polls."""
        return {n: seen.cost.delay / delay_at(self.best, seen.cost.polls) for n, seen in self.learned.items()}

    @property
    def under_growing(self) -> dict[int, float]:
        """Return how many times less the delay is than that of growing gaps at as many polls."""
        return {
            n: delay_at(self.growing, seen.cost.polls) / seen.cost.delay for n, seen in self.learned.items()
        }

    def show(self) -> None:
        """Print the table."""
        say(f"{self.name}")
        for rule, seen in self.fixed.items():
            over = seen.cost.delay / delay_at(self.best, seen.cost.polls)
            say(f"  {rule:<26}{seen.cost.polls:7.1f} polls  delay {seen.cost.delay:6.2f} s  p95 {seen.p95:6.1f} s"
                f"  {over:5.2f} times the best")  # fmt: skip
        for taught, seen in self.learned.items():
            steady = 0.95 * 2 * delay_at(self.steady, seen.cost.polls)  # the p95 of an even delay
            say(f"  {f'Learned after {taught}':<26}{seen.cost.polls:7.1f} polls  delay {seen.cost.delay:6.2f} s"
                f"  p95 {seen.p95:6.1f} s  {self.over_best[taught]:5.2f} times the best,"
                f" {self.under_growing[taught]:.2f} times less than growing,"
                f" p95 {seen.p95 / steady:.2f} of a steady one's")  # fmt: skip


def _learned(draw: Draw, taught: int, polls: float, options: argparse.Namespace) -> _Seen:
    chance = random.Random(options.seed + 2)
    cadence = Learned(polls_per_run=_share(polls, draw), cap=options.cap)
    _measure(cadence, _draws(draw, taught, chance), chance)
    return _measure(_Frozen(cadence), _draws(draw, options.runs, chance), chance)


def _share(polls: float, draw: Draw) -> float:
    """Return how many polls of a run belong to one state; a run has more than one state where it pauses."""
    chance = random.Random(0)
    return polls / mean(len(draw(chance)) for _ in range(1000))


class _Frozen:
    """A cadence that learns no more."""

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence

    def gap(self, elapsed: float, *, key: str = "", chance: float = 0.5) -> float:
        """Return the cadence's gap."""
        return self._cadence.gap(elapsed, key=key, chance=chance)


def _show_change(options: argparse.Namespace) -> None:
    """Print what a change of durations costs: six times longer after 500 runs, or shorter."""
    later = int(_AFTER * options.taught)
    for before, after in ((60.0, 360.0), (360.0, 60.0)):
        chance = random.Random(options.seed)
        cadence = Learned(polls_per_run=12, cap=options.cap)
        best = _best(_lognormal(after, 1), options)
        _measure(cadence, _draws(_lognormal(before, 1), int(_HALF * options.taught), chance), chance)
        _measure(cadence, _draws(_lognormal(after, 1), later, chance), chance)
        seen = _measure(_Frozen(cadence), _draws(_lognormal(after, 1), options.runs, chance), chance)
        over = seen.cost.delay / delay_at(best, seen.cost.polls)
        say(
            f"median {before:.0f} s, then {after:.0f} s: {later} runs later {seen.cost.polls:.1f} polls, "
            f"delay {seen.cost.delay:.2f} s, {over:.2f} times the best"
        )


def _plot(reports: list[_Report], path: Path) -> None:
    """Draw delay over polls, a panel for each distribution. Needs the extra `plots`."""
    plots: Any = import_module("matplotlib")
    plots.use("Agg")
    figure, panels = import_module("matplotlib.pyplot").subplots(
        1, len(reports), figsize=(4 * len(reports), 3.6)
    )
    for panel, report in zip(panels, reports, strict=True):
        for label, costs, style in (
            ("steady", report.steady, "C7:"),
            ("growing", report.growing, "C1--"),
            ("learned", report.curve, "C0o-"),
            ("best possible", report.best, "C2-"),
        ):
            panel.plot([cost.polls for cost in costs], [cost.delay for cost in costs], style, label=label)
        middle = sorted(report.learned.items())[1][1].cost
        panel.set(
            xscale="log", yscale="log", title=report.name, xlabel="polls a run", ylabel="mean delay, seconds",
            xlim=(middle.polls / 3, middle.polls * 3), ylim=(middle.delay / 5, middle.delay * 8),
        )  # fmt: skip
    panels[0].legend()
    figure.tight_layout()
    for suffix in (".png", ".svg"):
        figure.savefig(path.with_suffix(suffix), dpi=110)
        say(f"drawn: {path.with_suffix(suffix)}")
