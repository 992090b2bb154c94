"""A world around the core of a batch alone: what the driver, the journal, the vendor and the reader do is drawn.

One seed is one world: its settings, its rows, which faults there are, when each answer comes, and where the process
ends, in whichever way. The core is asked for commands after every event, and everything it promised is checked then.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Final

import attrs

from aioagents import (
    AuthenticationError,
    BadRequest,
    Conflict,
    JournalError,
    NotFound,
    NotSent,
    PoolClosed,
    RateLimit,
    Run,
    RunRef,
    RunState,
    StartUnknown,
    Throttled,
)
from aioagents.batch import MOVES, BatchRow, Change, Outcome, Record, RowFault, RowState
from aioagents.batch import states as commands
from aioagents.batch.core import BatchCore
from aioagents.batch.plan import ENDS as _ENDS
from aioagents.batch.settings import BatchSettings
from aioagents.batch.states import Row

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MOST_STEPS: Final = 5000
_MOST_LIVES: Final = 6
#: What may become of a start, besides a handle.
START_FAULTS: Final = (
    "lost",
    "refused",
    "unsent",
    "throttled",
    "unknown",
    "slots",
    "credentials",
    "cut",
    "unbegun",
)
OTHER_FAULTS: Final = (
    "wait",
    "journal",
    "claim",
    "odd",
    "slow_journal",
    "slow_reader",
    "late_runs",
    "no_runs",
    "late_input",
)


class Broken(AssertionError):
    """A promise that was not kept."""


def promise(holds: object, *facts: object) -> None:
    """Raise `Broken` with the facts unless something holds."""
    if not holds:
        raise Broken(*facts)


class Handle:
    """Stands for a `RunHandle`: the core reads what it knows, and nothing more."""

    def __init__(self, ref: RunRef, run: Run) -> None:
        self.ref = ref
        self.last = self.accepted = run


class Vendor:
    """What really happened: which keys were accepted, and which sent requests are still on their way."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()

    def accept(self, key: str) -> RunRef:
        """Begin a run."""
        self.accepted[key] += 1
        return RunRef("v", "", f"{key}.{self.accepted[key]}")


class Journal:
    """All or nothing, and durable: what a kill leaves is what was committed."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.claimed: set[str] = set()
        self.changed: set[str] = set()

    def begin(self) -> None:
        """Begin a run of the batch."""
        self.claimed.clear()
        self.changed.clear()

    def claim(self, rows: Sequence[BatchRow]) -> list[Record]:
        """Take rows on."""
        found = []
        for row in rows:
            new = Record(key=row.key, target=row.target, digest=b"", state=RowState.PLANNED, owner="me")
            record = self.records.setdefault(row.key, new)
            found.append(
                attrs.evolve(record, is_repeated=row.key in self.claimed, is_changed=row.key in self.changed)
            )
            self.claimed.add(row.key)
        return found

    def check(self, changes: Sequence[Change]) -> None:
        """See that each change is a move that a journal makes."""
        promise(len({change.key for change in changes}) == len(changes), "a key twice in one call", changes)
        for change in changes:
            before = self.records[change.key].state
            promise(change.state in MOVES[before], "no such move", change.key, before, change.state)
            is_begun = before is RowState.SENDING and change.state in (RowState.STARTED, *_ENDS.values())
            promise(not is_begun or change.ref is not None, "begun without reference", change)

    def commit(self, changes: Sequence[Change]) -> None:
        """Make changes."""
        self.check(changes)
        for change in changes:
            news: dict[str, Any] = {"state": change.state}
            if change.ref is not None:
                news["ref"] = change.ref
            self.records[change.key] = attrs.evolve(self.records[change.key], **news)
            self.changed.add(change.key)

    def count(self, state: RowState) -> int:
        """Count the rows of a state."""
        return sum(record.state is state for record in self.records.values())


@attrs.define
class Plan:
    """What a seed decides at the beginning."""

    seed: int
    settings: BatchSettings
    rows: list[object]
    faults: frozenset[str]
    input_fault: Exception | None
    #: How each life ends: by itself, killed at a step, left by its reader, or stopped.
    ends: list[str]
    is_resending: bool

    @classmethod
    def draw(cls, seed: int) -> "Plan":
        """Draw a plan."""
        rng = random.Random(seed)
        count = rng.choice((0, 1, 2, 3, 5, 8, 13, 24))
        rows: list[object] = [BatchRow(f"k{n}", "t") for n in range(count)]
        for _ in range(rng.choice((0, 0, 1, 2)) if rows else 0):
            rows.insert(
                rng.randrange(len(rows) + 1), rng.choice([row for row in rows if isinstance(row, BatchRow)])
            )
        if rng.random() < 0.2:
            rows.insert(rng.randrange(len(rows) + 1), RowFault(1, "no row"))
        faults = frozenset(kind for kind in (*START_FAULTS, *OTHER_FAULTS) if rng.random() < 0.25)
        is_resending = rng.random() < 0.3
        settings = BatchSettings(
            in_flight=rng.choice((1, 2, 3, 8)),
            sending=rng.choice((1, 2, 3, 8)),
            starts_per_second=rng.choice((None, None, None, 1, RateLimit(3, 2))),
            on_unknown="resend" if is_resending else "report",
            timeout=rng.choice((None, None, 3.0, 30.0)),
            grace=rng.choice((0.0, 1.0, 5.0)),
            ahead=rng.choice((1, 2, 4, 8)),
            outage=rng.choice((1, 2, 4)),
        )
        ends = [
            rng.choice(("end", "kill", "kill", "leave", "stop", "cancel", "fail"))
            for _ in range(rng.randrange(_MOST_LIVES))
        ]
        fault = RowFault(9, "the input broke") if rng.random() < 0.05 else None
        return cls(seed, settings, rows, faults, fault, ends, is_resending)


class Life:
    """One process: a core, and everything that happens to it, until it ends in one way or another."""

    def __init__(self, world: "World", how: str, *, is_last: bool) -> None:
        self.world, self.how, self.rng = world, how, world.rng
        self.plan, self.journal, self.vendor = world.plan, world.journal, world.vendor
        self.faults: frozenset[str] = frozenset() if is_last else self.plan.faults
        self.core = BatchCore(
            attrs.evolve(self.plan.settings),
            vendor="v",
            retry_delay=lambda error, _: self._retry_delay(error),
        )
        self.now = world.now
        self.outcomes: list[Outcome] = []
        self.unread: list[commands.Emit] = []
        self.abandoned: dict[str, list[tuple[Row, Exception | None]]] = {}
        self.is_over = self.is_closed = self.is_left = self.is_killed = False
        self.had_fault = False
        self.is_calm = how == "end" or is_last
        self.accepted: set[str] = set()
        self.handed: Counter[str] = Counter()  # starts that were handed over, by key
        self.sent_at: list[float] = []
        self.inherited = self.journal.count(RowState.SENDING)
        self._heap: list[tuple[float, float, int, Callable[[], None]]] = []
        self._order = 0
        self._wake = math.inf
        self._claiming = self._saving = False
        self._out: dict[str, Row] = {}  # starts handed over that have not ended
        self._arrived: set[str] = set()
        self.read: list[Outcome] = []  # outcomes that the reader took
        self.ended_at_once = 0  # starts whose answer was the end
        self._returned: set[str] = set()  # keys of starts that a stop cancelled
        self._has_journal_failed = False
        self._has_stopped = False  # whether decisions were made since the stop
        self._again: set[str] = (
            set()
        )  # keys of a call that failed, each of which is to be asked for by itself
        self._journal_fails = self.rng.choice((0.02, 0.1, 0.5)) if "journal" in self.faults else 0.0
        self._cancelled: set[str] = set()
        self._input: Iterator[object] = iter(self.plan.rows)
        self._open: list[list[Record]] = []
        self._actions: dict[type, Callable[[Any], None]] = {
            commands.ReadOpen: self._do_read_open,
            commands.ReadInput: self._do_read_input,
            commands.Claim: self._do_claim,
            commands.Save: self._do_save,
            commands.Start: self._do_start,
            commands.CancelUnsent: self._do_cancel_unsent,
            commands.Follow: self._do_follow,
            commands.Unfollow: lambda _: None,
            commands.Emit: self._do_emit,
            commands.Abandon: self._do_abandon,
            commands.WakeAt: self._do_wake_at,
            commands.End: self._do_end,
        }
        self.steps = 0
        self.last_step = -1 if is_last or how == "end" else int(math.exp(self.rng.uniform(0, math.log(400))))

    # Time

    @property
    def utc(self) -> datetime:
        """Return the wall clock."""
        return _EPOCH + timedelta(seconds=self.now)

    def later(self, act: Callable[[], None], most: float = 2.0, least: float = 0.0) -> None:
        """Schedule an event after a delay that is drawn, often zero."""
        delay = least if self.rng.random() < 0.4 else self.rng.uniform(least, max(most, least))
        self.at(self.now + delay, act)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Schedule an event at a time; events of the same time happen in an order that is drawn."""
        self._order += 1
        heappush(self._heap, (when, self.rng.random(), self._order, act))

    # The course of a life

    def run(self) -> None:
        """Live until it ends."""
        self.journal.begin()
        self._open = [
            [record for record in self.journal.records.values() if record.state is state]
            for state in (RowState.SENDING, RowState.STARTED)
        ]
        self.later(self._read_open)
        while self._heap and not (self.is_killed or (self.is_closed and not self._out)):
            when, _, _, act = heappop(self._heap)
            self.now = max(self.now, when)
            act()
            for _ in range(self.rng.choice((0, 0, 1, 3))):  # more happens in one turn of the loop
                if self._heap and self._heap[0][0] <= self.now:
                    heappop(self._heap)[3]()
            self._decide()
            self.steps += 1
            promise(self.steps < _MOST_STEPS, "it does not come to its end")
            if self.steps == self.last_step:
                self._end_early()
            if self.is_over and not self.is_closed and not self.unread:
                self._close()
        promise(self.is_killed or self.is_closed, "it stands still", self.core, self._out)
        self.world.now = self.now + 1.0
        self._look_back()

    def _decide(self) -> None:
        given = self.core.commands(self.now, self.utc)
        for command in given:
            self._actions[type(command)](command)
        self._has_stopped |= self.core.is_stopping
        self.core.check()
        self._check()

    def _check(self) -> None:
        settings, statistics = self.plan.settings, self.core.statistics(_EPOCH)
        sending = self.journal.count(RowState.SENDING)
        promise(sending <= settings.sending + self.inherited, "too many rows SENDING", sending)
        promise(0 <= statistics.sending <= settings.sending, "too many are being sent", statistics)
        promise(0 <= statistics.in_flight <= settings.in_flight, "too many are in flight", statistics)
        promise(statistics.unread == len(self.unread), "outcomes are miscounted")
        promise(
            all(count <= 1 + self.world.resent[key] for key, count in self.vendor.accepted.items()),
            "started twice",
            self.vendor.accepted,
        )

    def _end_early(self) -> None:
        if self.how == "kill":
            self.is_killed = True
            for key in self._out:  # a request that had left may arrive all the same
                if key not in self._arrived | self._cancelled and self.rng.random() < 0.5:
                    self._accept(key)
        elif self.how == "stop":
            graces = self.rng.choice(((math.inf,), (2.0,), (math.inf, 0.0), (0.0,)))
            self.is_calm = graces == (math.inf,)
            for grace in graces:
                self.core.stop(grace, self.now)
                self._decide()
        elif self.how == "fail":
            self.core.fail(PoolClosed("the pool was closed"), self.now)
            self._decide()
        elif not self.is_closed:
            self._leave()

    def _leave(self) -> None:
        """Leave the iteration: by a break, or cancelled once, twice or three times."""
        times = 1 if self.how == "leave" else self.rng.choice((1, 2, 3))
        self.core.left(self.unread)
        self.is_left = True
        self.unread.clear()
        self.core.stop(math.inf, self.now)
        self._decide()
        grace = self.plan.settings.grace if times == 1 else 0.0
        self.at(self.now + grace, self._close)

    def _close(self) -> None:
        if self.is_closed:
            return
        self.core.left(self.unread)
        self.is_left = True
        self.unread.clear()
        self.core.stop(math.inf, self.now)
        self._decide()
        self.core.end()
        self.core.close()
        self.is_closed = True
        self._decide()

    # Reading

    def _read_open(self) -> None:
        if self.is_closed:
            return
        for records in self._open[:1]:
            while records:
                # The journal is read slowly, while rows are changed: what this run changed is said to be so.
                record = records.pop(0)
                is_changed = record.key in self.journal.changed
                fresh = attrs.evolve(self.journal.records[record.key], is_changed=is_changed)
                if fresh.state not in (RowState.SENDING, RowState.STARTED):
                    continue
                if not self.core.intake.found_open(fresh, self.utc):
                    return  # ReadOpen comes
        if len(self._open) == 2:
            self._open.pop(0)
            if self.core.intake.sending_ended():
                self.later(self._read_open)
        elif self._open:
            self._open.pop(0)
            self.core.intake.open_ended()
            self.later(self._read)

    def _read(self) -> None:
        """Read as many rows as there is room for, or fewer."""
        if self.is_closed:
            return
        for _ in range(self.rng.choice((1, 3, 100))):
            row = next(self._input, None)
            if row is None:
                if self.plan.input_fault is not None and self.faults:
                    self.core.fail(self.plan.input_fault, self.now)
                else:
                    self.core.intake.input_ended()
                return
            if not self.core.intake.read(row):
                return  # ReadInput comes
        self.later(self._read, 20.0 if "late_input" in self.faults else 1.0)

    def _do_read_open(self, _: commands.ReadOpen) -> None:
        self.later(self._read_open)

    def _do_read_input(self, _: commands.ReadInput) -> None:
        self.later(self._read)

    # The journal

    def _delay(self) -> float:
        return 10.0 if "slow_journal" in self.faults else 0.3

    def _do_claim(self, command: commands.Claim) -> None:
        promise(not self._claiming, "two claims at a time")
        promise(command.rows, "an empty claim")
        self._claiming = True
        self.later(lambda: self._claim(command.rows), self._delay())

    def _claim(self, rows: Sequence[BatchRow]) -> None:
        self._claiming = False
        if self.is_closed:
            return
        if "claim" in self.faults and self.rng.random() < 0.1:
            self.had_fault = True
            self.core.claim_failed(JournalError("the disk is full"), self.now)
        elif "odd" in self.faults and any(row.key == "k1" for row in rows):
            self.core.claim_failed(TypeError("not JSON-able"), self.now)
        else:
            self.core.claimed(self.journal.claim(rows), self.utc)

    def _do_save(self, command: commands.Save) -> None:
        promise(not self._saving, "two records at a time")
        promise(command.changes, "an empty record")
        self._saving = True
        if self._again:
            keys = {change.key for change in command.changes}
            promise(len(keys) == 1 and keys <= self._again, "not asked for one by one", keys, self._again)
            self._again -= keys
        is_sending = any(change.state is RowState.SENDING for change in command.changes)
        promise(not (is_sending and self._has_journal_failed), "SENDING after a change that was not recorded")
        fails = self.rng.random() < self._journal_fails
        is_cut_off = self.rng.random() < self._journal_fails / 4
        self.later(lambda: self._commit(command.changes, fails=fails, is_cut_off=is_cut_off), self._delay())

    def _commit(self, changes: Sequence[Change], *, fails: bool, is_cut_off: bool) -> None:
        self.had_fault |= fails or is_cut_off
        self.journal.check(changes)
        if not fails:
            self.journal.commit(changes)
        self.later(lambda: self._answer(changes, fails=fails, is_cut_off=is_cut_off), self._delay())

    def _answer(self, changes: Sequence[Change], *, fails: bool, is_cut_off: bool) -> None:
        self._saving = False
        if self.is_closed:
            return
        if is_cut_off:  # whether it was committed or not
            error = JournalError("the call was cancelled")
            self.core.record_lost(error)
            self.core.fail(error, self.now)
        elif fails:
            if len(changes) > 1:
                self._again = {change.key for change in changes if change.state is not RowState.SENDING}
            self._has_journal_failed = True
            self.core.record_failed(JournalError("the disk is full"), self.now)
        else:
            self.core.recorded(self.now)

    # Starts

    def _do_start(self, command: commands.Start) -> None:
        row = command.row
        promise(self.journal.records[row.key].state is RowState.SENDING, "sent before it was recorded", row)
        promise(not self.core.is_stopping, "started after a stop", row)
        promise(row.key not in self._out, "started while its start is out", row)
        self._out[row.key] = row
        self.handed[row.key] += 1
        self.sent_at.append(self.now)
        rate = self.plan.settings.starts_per_second
        if rate is not None and len(self.sent_at) > 1:
            gap = self.sent_at[-1] - self.sent_at[-2]
            promise(gap >= 1 / rate.per_second - 1e-6, "starts too close", gap)
        kinds = [kind for kind in START_FAULTS if kind in self.faults]
        kind = self.rng.choice(kinds) if kinds and self.rng.random() < 0.4 else "taken"
        self.later(lambda: self._arrive(row, kind), 5.0)

    def _accept(self, key: str) -> RunRef:
        self.accepted.add(key)
        return self.vendor.accept(key)

    def _arrive(self, row: Row, kind: str) -> None:
        """Let the request leave, unless it was cancelled before."""
        promise(row.key in self._cancelled or not self._has_stopped, "sent after a stop", row)
        if row.key in self._cancelled:
            self._over(row, NotSent("cancelled before it was sent"))
        elif kind == "taken" or (kind in {"lost", "cut", "unknown"} and self.rng.random() < 0.5):
            ref = self._accept(row.key)
            self._cancelled.discard(row.key)
            self.later(lambda: self._over(row, ref if kind == "taken" else kind), 5.0)
            self._arrived.add(row.key)
        else:
            self.later(lambda: self._over(row, kind), 5.0)

    def _over(self, row: Row, result: RunRef | str | Exception) -> None:
        core, now, utc = self.core, self.now, self.utc
        self._out.pop(row.key, None)
        self._arrived.discard(row.key)
        if core.is_stopping and (result == "unsent" or isinstance(result, NotSent)):
            self._returned.add(row.key)
        if isinstance(result, RunRef):
            core.start_ended(row, self._answer_to_start(result), now, utc)
        elif result == "cut":
            self.had_fault = True
            core.start_lost(row, PoolClosed("the pool was closed"))
            core.fail(PoolClosed("the pool was closed"), now)
        elif result == "unbegun":
            self.had_fault = True
            core.start_unsent(row, PoolClosed("the pool was closed"), now, utc)
        else:
            core.start_ended(row, _ERRORS[result]() if isinstance(result, str) else result, now, utc)

    def _answer_to_start(self, ref: RunRef) -> Any:
        """Return a handle, now and then of a run that is over, or a run, which should be over and may not be."""
        kind = self.rng.choice(("handle",) * 6 + ("ended handle", "ended run", "run"))
        state = self.rng.choice(tuple(_ENDS)) if "ended" in kind else RunState.RUNNING
        run = Run(ref=ref, state=state, status=state.value, seen_at=self.utc)
        self.ended_at_once += "ended" in kind
        return Handle(ref, run) if "handle" in kind else run

    def _retry_delay(self, error: Exception) -> float | None:
        return 1.5 if isinstance(error, Conflict) else None

    def _do_cancel_unsent(self, _: commands.CancelUnsent) -> None:
        self._cancelled.update(self._out)

    # Runs

    def _do_follow(self, command: commands.Follow) -> None:
        row = command.row
        promise(
            self.journal.records[row.key].state is RowState.STARTED, "followed before it was recorded", row
        )
        ref = self.journal.records[row.key].ref
        if row.handle is None:
            if ref is None:
                self.later(lambda: self.core.run_ended(row, ValueError("no reference"), self.now))
                return
            run = Run(ref=ref, state=RunState.RUNNING, status="going", seen_at=self.utc)
            row.handle = Handle(ref, run)  # type: ignore[assignment]  # stands for a handle
        if "no_runs" in self.faults and self.plan.settings.timeout is not None and self.rng.random() < 0.3:
            return  # it goes on for ever
        most = 60.0 if "late_runs" in self.faults else 5.0
        self.later(lambda: self._end_run(row, ref), most)

    def _end_run(self, row: Row, ref: RunRef | None) -> None:
        if "wait" in self.faults and self.rng.random() < 0.2:
            self.core.run_ended(row, NotFound("no such run", status=404), self.now)
            return
        assert ref is not None
        state = self.rng.choice(tuple(_ENDS))
        end = Run(ref=ref, state=state, status="over", seen_at=self.utc)
        self.core.run_ended(row, end, self.now)

    # The reader

    def _do_emit(self, command: commands.Emit) -> None:
        promise(not self.is_left, "an outcome that nobody reads")
        outcome = command.outcome
        is_quiet = outcome.key in self._returned and outcome.state is RowState.PLANNED
        promise(not is_quiet, "a row that a stop returned is reported", outcome)
        record = self.journal.records.get(outcome.key)
        is_refusal = outcome.state is RowState.REFUSED and outcome.target == ""
        if outcome.is_settled and not is_refusal:
            promise(
                record is not None and record.state is outcome.state, "told and not recorded", outcome, record
            )
        self.outcomes.append(outcome)
        self.unread.append(command)
        self.later(self._take, 20.0 if "slow_reader" in self.faults else 0.5)

    def _take(self) -> None:
        if self.unread:
            self.read.append(self.unread.pop(0).outcome)
            self.core.taken()

    def _do_abandon(self, command: commands.Abandon) -> None:
        self.abandoned.setdefault(command.row.key, []).append((command.row, command.error))

    # Time

    def _do_wake_at(self, command: commands.WakeAt) -> None:
        promise(command.at > self.now, "woken in the past", command.at, self.now)
        promise(command.at != self._wake, "woken at the same moment twice")
        self._wake = command.at
        if command.at != math.inf:
            self.at(command.at, lambda: self._woken(command.at))

    def _woken(self, at: float) -> None:
        if self._wake == at:
            self._wake = math.inf
            self.core.woken()

    def _do_end(self, command: commands.End) -> None:
        promise(not self.is_over, "it ends twice")
        is_late = self.now >= self.core._ends_at  # noqa: SLF001 - whether time ended it
        promise(is_late or self.is_left or not self._again, "not asked for once more", self._again)
        self.is_over = True

    # Afterwards

    def _look_back(self) -> None:
        """See that nothing was lost in this life, and nothing reported twice."""
        told = Counter(outcome.key for outcome in self.outcomes if outcome.target)
        promise(all(count == 1 for count in told.values()), "two outcomes of one row", told)
        if self.is_killed:
            return
        for key in self.accepted:
            record = self.journal.records[key]
            known = record.ref is not None or record.state is RowState.UNKNOWN
            is_reported = any(
                outcome.key == key and (outcome.ref or outcome.state in (RowState.SENDING, RowState.UNKNOWN))
                for outcome in self.read
            )
            promise(known or is_reported or key in self.abandoned, "a run was lost sight of", key, record)
        if self.core.error is None and not self.had_fault and self.is_calm:
            for key in self.journal.changed:
                state = self.journal.records[key].state
                promise(state is not RowState.SENDING, "left as SENDING", key)


_ERRORS: Final[dict[str, Callable[[], Exception]]] = {
    "lost": lambda: StartUnknown("no whole reply"),
    "unknown": lambda: LookupError("a fault of the client's"),
    "refused": lambda: BadRequest("no", status=400),
    "unsent": lambda: NotSent("no connection"),
    "throttled": lambda: Throttled("slow down", status=429, retry_after=2.0),
    "slots": lambda: Conflict("no slot", status=409),
    "credentials": lambda: AuthenticationError("who?", status=401),
}


class World:
    """Lives over one journal and one vendor, the last of which is calm and goes to its end."""

    def __init__(self, seed: int) -> None:
        self.plan = Plan.draw(seed)
        self.rng = random.Random(seed + 1)
        self.journal = Journal()
        self.vendor = Vendor()
        self.now = 0.0
        self.resent: Counter[str] = Counter()
        self.lives: list[Life] = []

    def run(self) -> None:
        """Live all lives. Raises `Broken`, and whatever the core raises."""
        for how in self.plan.ends:
            self._live(how, is_last=False)
        last = self._live("end", is_last=True)
        promise(last.core.error is None, "the last life failed", last.core.error)
        rows = {row.key for row in self.plan.rows if isinstance(row, BatchRow)}
        told = Counter(outcome.key for outcome in last.outcomes if outcome.target)
        promise(told.keys() >= rows, "rows without an outcome", rows - told.keys())
        for outcome in last.outcomes:
            if outcome.target and outcome.state in _ENDS.values():
                promise(self.vendor.accepted[outcome.key] >= 1, "an end without a run", outcome)
            if outcome.target and outcome.state is RowState.STARTED:
                promise(self.plan.settings.timeout is not None, "not followed to its end", outcome)
        for key, count in self.vendor.accepted.items():
            promise(self.journal.records[key].state is not RowState.PLANNED, "ran and is planned", key, count)

    def _live(self, how: str, *, is_last: bool) -> Life:
        if self.plan.is_resending:  # what is unknown is sent once more, which the user asked for
            for key, record in self.journal.records.items():
                self.resent[key] += record.state in (RowState.SENDING, RowState.UNKNOWN)
        life = Life(self, how, is_last=is_last)
        self.lives.append(life)
        life.run()
        return life
