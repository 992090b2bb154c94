"""Rows started twice, or without exactly one result, by a batch whose process is killed again and again.

The command line runs one batch with one journal, against a simulator in this process that injects faults. It is
killed by SIGKILL at random instants: while Python starts, while the journal is opened, after a number of starts,
while results are written. Then it runs to its end; unknown rows are settled by hand, some with a run that is begun
for them, some to be sent again, some dropped; and it runs to its end again.

The counts come from the simulator, the journal and the results file.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import orjson
from attrs import frozen

from aioagents import AgentsError, Leena, SessionPool
from aioagents.batch import Journal, RowState
from aioagents.contract.fake import RunPlan
from aioagents.providers.leena.fake import FakeLeena
from aioagents.simulator import FaultPlan, Simulator

from .figures import say, whole
from .processes import ROOT, Command, ForkServer, NewProcess

#: The share of requests for each fault. Throttling is rarer, since it only makes processes run longer.
_FAULTS: Final = FaultPlan(
    reset=0.03, lost=0.03, error=0.03, truncate=0.03, garble=0.03, expire=0.02, throttle=0.002, retry_after=1
)
_IN_FLIGHT: Final = 200
_RATE: Final = 150  # starts a second: few are pending at a time, and unknown after a kill
_NEW_PROCESSES: Final = 0.1  # the share that is not forked; Python takes long to start
_LONGEST: Final = 6.0  # seconds until a process is killed in any case
_TICK: Final = 0.001
_TIMEOUT: Final = 180.0
_AT_ONCE: Final = 200  # rows settled by one command
_MOST_RUNS: Final = 12
_OPEN: Final = frozenset({RowState.PLANNED, RowState.SENDING, RowState.STARTED})


@frozen(kw_only=True)
class Snapshot:
    """The rows at one moment, by the simulator, by the journal and by the results file."""

    rows: frozenset[str]
    starts: Mapping[str, int]
    states: Mapping[str, RowState]
    lines: Mapping[str, int]
    listed: frozenset[str]

    def breaches(self, *, resent: frozenset[str] = frozenset()) -> Sequence[str]:
        """Return what must not be; rows that were `resent` may have been started twice."""
        settled = {key for key, state in self.states.items() if state.is_settled}
        unknown = {key for key, state in self.states.items() if state is RowState.UNKNOWN}
        found = [
            f"started {count} times: {key}"
            for key, count in self.starts.items()
            if count > 1 + (key in resent)
        ]
        found += [f"{count} lines: {key}" for key, count in self.lines.items() if count != 1]
        found += [f"left as {state}: {key}" for key, state in self.states.items() if not state.is_settled]
        for what, keys in (
            ("started and not settled", self.starts.keys() - settled),
            ("not in the journal", self.rows - self.states.keys()),
            ("in the journal alone", self.states.keys() - self.rows),
            ("without a result", settled - self.lines.keys()),
            ("a result too many", self.lines.keys() - settled),
            ("unknown and not listed", unknown - self.listed),
            ("listed and not unknown", self.listed - unknown),
        ):
            found += [f"{what}: {key}" for key in sorted(keys)]
        return found


@frozen(kw_only=True)
class KillReport:
    """The result: the rows after the kills, and after unknown rows were settled by hand."""

    kills: int
    processes: int
    killed: Snapshot
    answers: Mapping[str, str]
    settled: Snapshot

    @property
    def resent(self) -> frozenset[str]:
        """Return the rows that were sent again by hand."""
        return frozenset(key for key, answer in self.answers.items() if answer == "resend")

    def breaches(self) -> Sequence[str]:
        """Return what must not be."""
        return [*self.killed.breaches(), *self.settled.breaches(resent=self.resent)]


class Killer:
    """A folder with a growing input, a journal and results, and a simulator that counts starts."""

    def __init__(self, folder: Path, simulator: Simulator, fake: FakeLeena, *, step: int, seed: int) -> None:
        self._rows, self._journal = folder / "rows.jsonl", folder / "batch.db"
        self._results, self._errors = folder / "results.jsonl", folder / "errors.txt"
        self._fake = fake
        self._environ = {**os.environ, **simulator.environment()}
        self._step = step
        self._chance = random.Random(seed)
        self._count = 0
        self._fork_server = ForkServer(environ=self._environ, errors=self._errors)
        self.kills = self.processes = 0
        self._add_rows()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._fork_server.__exit__(kind, error, trace)

    def _add_rows(self) -> None:
        with self._rows.open("ab") as file:
            for number in range(self._count, self._count + self._step):
                key = f"row-{number}"
                file.write(orjson.dumps({"key": key, "target": "tea", "input": {"key": key}}) + b"\n")
        self._count += self._step

    @property
    def _arguments(self) -> Sequence[str]:
        return [
            *("batch", str(self._rows), "--vendor", "leena", "--journal", str(self._journal)),
            *("--output", str(self._results), "--in-flight", str(_IN_FLIGHT)),
            *("--rate", str(_RATE), "--resume=if-any"),
        ]

    # Kills

    def kill(self) -> None:
        """Run the batch and kill it. If it ended before that, more rows are added to the input."""
        self.processes += 1
        is_new = self._chance.random() < _NEW_PROCESSES
        is_due = self._draw(is_new=is_new)
        command: Command = self._fork_server.begin(self._arguments) if not is_new else self._new_process()
        ends_at = time.monotonic() + _LONGEST
        try:
            while not is_due() and time.monotonic() < ends_at and command.poll() is None:
                time.sleep(_TICK)
        finally:
            code = command.kill()
        if code == -signal.SIGKILL:
            self.kills += 1
        else:
            self._check_code(code)
            self._add_rows()

    def _new_process(self) -> Command:
        return NewProcess(self._arguments, environ=self._environ, errors=self._errors)

    def _draw(self, *, is_new: bool) -> Callable[[], bool]:
        """Choose at random after what event, and how much later, the batch is killed."""
        kind, chance = self._chance.random(), self._chance
        if kind < 0.3:  # while Python starts, the journal is opened, rows are claimed
            due_at = time.monotonic() + chance.uniform(0.0, 1.5 if is_new else 0.25)
            return lambda: time.monotonic() > due_at
        if kind < 0.55:  # while results are written
            size = self._size()
            return self._later(lambda: self._size() > size, chance.uniform(0.0, 0.02))
        starts = self._starts() + chance.randrange(1, 60)
        return self._later(lambda: self._starts() >= starts, chance.uniform(0.0, 0.03))

    def _later(self, is_there: Callable[[], bool], delay: float) -> Callable[[], bool]:
        seen_at: list[float] = []

        def is_due() -> bool:
            if not seen_at and is_there():
                seen_at.append(time.monotonic())
            return bool(seen_at) and time.monotonic() >= seen_at[0] + delay

        return is_due

    def _starts(self) -> int:
        return self._fake.statistics()["starts"]

    def _size(self) -> int:
        """Return the size of the results file, under either of its names."""
        paths = (self._results, self._results.with_name(f"{self._results.name}.aioagents-part"))
        sizes = [0]
        for path in paths:
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return max(sizes)

    def _check_code(self, code: int) -> None:
        """Raise RuntimeError for an exit code that a batch must not have: rows may fail, be unknown or be left."""
        if code not in {0, 1, 3, 4} or "Traceback" in self._errors.read_text():
            raise RuntimeError(f"ended with {code}: {self._errors.read_text()[-2000:]}")

    # To the end

    def run(self) -> None:
        """Run the batch until no row is open."""
        for _ in range(_MOST_RUNS):
            command = self._fork_server.begin(self._arguments)
            ends_at = time.monotonic() + _TIMEOUT
            while command.poll() is None and time.monotonic() < ends_at:
                time.sleep(_TICK)
            self._check_code(command.kill())
            if not _OPEN & set(self._states().values()):
                return

    def _run_command(self, *arguments: str) -> bytes:
        words = [sys.executable, "-m", "aioagents", *arguments]
        done = subprocess.run(words, cwd=ROOT, env=self._environ, capture_output=True, check=True)
        return done.stdout

    def _states(self) -> Mapping[str, RowState]:
        with Journal.read_only(self._journal) as reader:
            return {record.key: record.state for record in reader.records()}

    def snapshot(self) -> Snapshot:
        """Return the rows as they are now."""
        lines = [orjson.loads(line) for line in self._results.read_bytes().splitlines()]
        listed = self._run_command("batch", "unknown", str(self._journal), "--json").splitlines()
        return Snapshot(
            rows=frozenset(f"row-{number}" for number in range(self._count)),
            starts={str(key): count for key, count in self._fake.starts_by_key.items()},
            states=self._states(),
            lines=Counter(line["key"] for line in lines),
            listed=frozenset(orjson.loads(line)["key"] for line in listed),
        )

    async def _begin_runs(self, count: int) -> Sequence[str]:
        """Begin runs that are no row's, as people do who repeat a start by other means; return their references."""
        refs: list[str] = []
        async with SessionPool() as pool:
            leena = Leena.from_env(pool, self._environ)
            while len(refs) < count:
                with suppress(AgentsError):  # the server has faults
                    refs.append(str((await leena.execute("tea")).ref))
        return refs

    def settle(self, snapshot: Snapshot) -> Mapping[str, str]:
        """Settle the unknown rows, each in one of the three ways, and return the decisions by key."""
        keys = sorted(snapshot.listed)
        answers = {key: ("", "resend", "drop")[number % 3] for number, key in enumerate(keys)}
        refs = iter(asyncio.run(self._begin_runs(list(answers.values()).count(""))))
        answers = {key: answer or next(refs) for key, answer in answers.items()}
        options = [f"--resolve={key}={answer}" for key, answer in answers.items()]
        for start in range(0, len(options), _AT_ONCE):
            self._run_command("batch", "unknown", str(self._journal), *options[start : start + _AT_ONCE])
        return answers


@contextmanager
def killing(folder: Path, *, step: int, seed: int) -> Iterator[Killer]:
    """Run the simulator for as long as the block lasts."""
    fake = FakeLeena(RunPlan(seed=seed, median=10.0))
    with (
        Simulator(fakes=[fake], speed=60.0, seed=seed, faults=_FAULTS).in_thread() as simulator,
        Killer(folder, simulator, fake, step=step, seed=seed) as killer,
    ):
        yield killer


def run_kills(
    folder: Path,
    *,
    kills: int,
    step: int = 400,
    seed: int = 0,
    on_kill: Callable[[Killer], object] | None = None,
) -> KillReport:
    """Kill the batch `kills` times, run it to its end, settle unknown rows, and run it to its end again."""
    with killing(folder, step=step, seed=seed) as killer:
        while killer.kills < kills:
            killer.kill()
            if on_kill is not None:
                on_kill(killer)
        killer.run()
        killed = killer.snapshot()
        answers = killer.settle(killed)
        killer.run()
        settled = killer.snapshot()
    return KillReport(
        kills=killer.kills, processes=killer.processes, killed=killed, answers=answers, settled=settled
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--kills", type=whole, default=50)
    parser.add_argument(
        "--rows",
        type=whole,
        default=400,
        help="rows of the input, at first and added each time all have ended",
    )
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> None:
    """Kill the batch again and again, and print the counts."""
    began_at = time.perf_counter()

    def on_kill(killer: Killer) -> None:
        if killer.processes % 25 == 0:
            say(f"{killer.kills} kills in {time.perf_counter() - began_at:.0f} s")

    with tempfile.TemporaryDirectory() as folder:
        report = run_kills(
            Path(folder), kills=options.kills, step=options.rows, seed=options.seed, on_kill=on_kill
        )
    for name, found in (("after the kills", report.killed), ("after settling by hand", report.settled)):
        states = Counter(found.states.values())
        times = Counter(found.starts.get(key, 0) for key in found.rows)
        say(f"{name}: {', '.join(f'{count} {state}' for state, count in states.most_common())}")
        say(
            f"  starts a row: {', '.join(f'{count} rows {number}' for number, count in sorted(times.items()))}"
        )
        say(
            f"  {sum(found.lines.values())} lines of {len(found.lines)} rows, {len(found.listed)} listed as unknown"
        )
    breaches = report.breaches()
    for each in breaches[:20]:
        say(each)
    rows, seconds = len(report.settled.rows), time.perf_counter() - began_at
    say(
        f"kills: {len(breaches)} breaches in {report.kills} kills of a batch of {rows} rows, {seconds:.0f} s (aim 0)"
    )
