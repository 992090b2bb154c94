"""What must hold in every world. Told what happens, it notes what must not be; pure but for that."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field

from aioagents import RunState, StartUnknown
from aioagents.batch import Outcome, RowState
from aioagents.errors import AgentsError, PoolClosed
from aioagents.model import RunRef
from aioagents.observe import Event, StartAbandoned

if TYPE_CHECKING:
    from .vendor import SimRun

ENDS = {
    RunState.COMPLETED: RowState.COMPLETED,
    RunState.FAILED: RowState.FAILED,
    RunState.ABORTED: RowState.ABORTED,
}
_ENDED = frozenset(ENDS.values())


class Broken(Exception):
    """Something that must hold does not. `kind` names the rule."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(kind, words)
        self.kind = kind
        self.words = words

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


@define(eq=False)
class Attempt:
    """One request that may start a run, from its first byte on."""

    key: str
    life: int
    at: float
    #: Whether it may still arrive.
    is_out: bool = True
    run: "SimRun | None" = None
    #: Whether whoever sent it was told by the vendor that nothing began.
    is_refused: bool = False


@define(eq=False)
class Row:
    """What is known of a row, from all sides."""

    key: str
    #: What the journal has on disk; None before it is claimed.
    state: RowState | None = None
    ref: RunRef | None = None
    #: The life in which it was made SENDING last.
    sending_in: int = -1
    #: Attempts since then.
    since: list[Attempt] = field(factory=list)
    attempts: list[Attempt] = field(factory=list)
    accepted: int = 0
    #: How often it was to be sent once more by request.
    resent: int = 0
    #: The life by which its outcome was settled.
    settled_in: int = -1

    @property
    def may_have_begun(self) -> bool:
        """Return whether what was sent since the row was made SENDING may have begun a run."""
        return any(not each.is_refused for each in self.since)


class Checks:
    """Watches a world from all sides: vendor, journal, whoever reads, hooks."""

    def __init__(self, *, has_journal: bool) -> None:
        self.broken: Broken | None = None
        self.has_journal = has_journal
        self.rows: dict[str, Row] = {}
        self.trace: list[tuple[float, int, str]] = []
        self.where: Callable[[], tuple[float, int]] = lambda: (0.0, 0)
        self.life = 0
        self.sending = self.inherited = 0
        #: How many rows may be SENDING in this life, besides those that were before.
        self.allowed = 0
        #: Outcomes of this life by batch and key.
        self.outcomes: dict[tuple[int, str], list[Outcome]] = defaultdict(list)
        self.abandoned: list[StartAbandoned] = []
        self.is_resending = False
        #: Rows that the journal refused in this life, each by itself.
        self.refused: set[str] = set()
        #: Rows whose start told its caller that nobody can know; of direct callers.
        self.told: set[str] = set()

    # What everybody needs

    def note(self, words: str) -> None:
        """Keep a line for whoever reads of a failure."""
        if self.broken is None:
            self.trace.append((*self.where(), words.encode("ascii", "backslashreplace").decode()))

    def fail(self, kind: str, words: str) -> None:
        """Note what must not be; the first one counts."""
        if self.broken is None:
            self.note(f"BROKEN {kind}: {words}")
            self.broken = Broken(kind, words)

    def row(self, key: str) -> Row:
        """Return what is known of a row."""
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(key)
        return row

    def begin_life(self, number: int, *, allowed: int, is_resending: bool) -> None:
        """Begin with another process."""
        self.life = number
        self.allowed = allowed
        self.is_resending = is_resending
        self.inherited = self.sending = sum(row.state is RowState.SENDING for row in self.rows.values())
        self.outcomes.clear()
        self.abandoned.clear()
        self.refused.clear()
        if not self.has_journal:
            for row in self.rows.values():
                row.resent += 1

    # The vendor's side

    def sent(self, attempt: Attempt, *, is_direct: bool) -> None:
        """Take in that the first byte of a start leaves."""
        row = self.row(attempt.key)
        row.attempts.append(attempt)
        row.since.append(attempt)
        self.note(f"sent {attempt.key}")
        if is_direct or not self.has_journal:
            return
        if row.state is not RowState.SENDING:
            self.fail("sent before SENDING", f"{attempt.key} left while the journal has {row.state}")
        elif row.sending_in != self.life:
            self.fail("sent before SENDING", f"{attempt.key} left, and was made SENDING by an earlier life")

    def accepted(self, attempt: Attempt) -> None:
        """Take in that the vendor begins a run."""
        row = self.row(attempt.key)
        row.accepted += 1
        self.note(f"accepted {attempt.key} as {attempt.run}")
        if row.accepted > 1 + row.resent:
            self.fail(
                "started twice", f"{attempt.key}: {row.accepted} runs, asked for again {row.resent} times"
            )

    # The journal's side

    def claimed(self, key: str) -> None:
        """Take in that a row is known to the journal."""
        row = self.row(key)
        if row.state is None:
            row.state = RowState.PLANNED

    def moved(self, key: str, after: RowState, ref: RunRef | None, *, is_by_hand: bool = False) -> None:
        """Take in that the journal has a change on disk."""
        row = self.row(key)
        before, row.state = row.state, after
        self.note(f"journal {key}: {before} to {after}")
        if before is RowState.SENDING:
            self.sending -= 1
            self.inherited -= row.sending_in != self.life
        if after is RowState.SENDING:
            self._check_bound(row)
        elif after is RowState.PLANNED:
            self._check_resend(row, before, is_by_hand=is_by_hand)
        elif after is RowState.REFUSED:
            if before is RowState.SENDING and row.may_have_begun:
                self.fail("refused though sent", f"{key} may have begun a run")
        elif after is RowState.STARTED or after in _ENDED:
            self._check_run(row, after, ref)
        if after.is_settled:
            row.settled_in = self.life

    def _check_bound(self, row: Row) -> None:
        row.since = []
        row.sending_in = self.life
        self.sending += 1
        if self.sending - self.inherited > self.allowed:
            self.fail(
                "too many SENDING",
                f"{self.sending} rows, {self.inherited} of them inherited, {self.allowed} allowed",
            )

    def _check_resend(self, row: Row, before: RowState | None, *, is_by_hand: bool) -> None:
        if before is RowState.SENDING and row.sending_in == self.life:
            if row.may_have_begun:
                self.fail("put back though sent", f"{row.key} may have begun a run")
        elif is_by_hand or self.is_resending:
            row.resent += 1
        else:
            self.fail("planned anew", f"{row.key} was {before}, and nobody asked for it to be sent again")

    def _check_run(self, row: Row, after: RowState, ref: RunRef | None) -> None:
        if after is RowState.STARTED or ref is not None:
            row.ref = ref
        if row.ref is None:
            self.fail("no reference", f"{row.key} is {after} without a run")
            return
        run = next((each.run for each in row.attempts if each.run and each.run.id == row.ref.id), None)
        if run is None:
            self.fail("another run", f"{row.key} has the run {row.ref}, which it did not begin")
        elif after in _ENDED and ENDS[run.end] is not after:
            self.fail("another end", f"{row.key} is {after}, and its run ends as {run.end}")
        elif after in _ENDED and run.ends_at > self.where()[0]:
            self.fail("ended early", f"{row.key} is {after}, and its run goes on")

    def sync(self, states: Mapping[str, RowState], refs: Mapping[str, RunRef | None]) -> None:
        """Take in what the journal really has, now that the process is gone which could have told more of it."""
        for key, state in states.items():
            row = self.row(key)
            if row.state is not state:
                self.note(f"journal {key}: found as {state}, not {row.state}")
                if state is RowState.SENDING:
                    row.since, row.sending_in = [], self.life
                row.state = state
            row.ref = refs[key] or row.ref

    # Whoever reads

    def outcome(self, batch: int, outcome: Outcome, *, is_twice: bool) -> None:
        """Take in what a batch gives to whoever reads."""
        key = outcome.key
        self.note(
            f"outcome {batch} {key}: {outcome.state} {type(outcome.error).__name__ if outcome.error else ''}"
        )
        before = self.outcomes[batch, key]
        if not key.startswith("k") or key.endswith("!"):
            return  # of what is no row
        before.append(outcome)
        is_fault = _is_fault(outcome)
        is_reported_twice = sum(not _is_fault(each) for each in before) > 1 and (
            self.has_journal or not is_twice
        )
        if is_reported_twice or (is_fault and len(before) > 1 and not is_twice):
            self.fail("two outcomes", f"{key!r}: {[str(each.state) for each in before]}")
        if is_fault or not self.has_journal:
            return
        row = self.row(key)
        if outcome.is_settled and row.state is not outcome.state:
            self.fail(
                "outcome before record", f"{key} is told as {outcome.state}, the journal has {row.state}"
            )
        if outcome.state is RowState.STARTED and row.state is not RowState.STARTED:
            self.fail(
                "outcome before record", f"{key} is told as {outcome.state}, the journal has {row.state}"
            )
        if outcome.state is RowState.PLANNED and row.state is not RowState.PLANNED:
            self.fail(
                "outcome before record", f"{key} is told as {outcome.state}, the journal has {row.state}"
            )
        if outcome.is_replayed and row.settled_in == self.life:
            self.fail("replayed", f"{key} was settled in this life and is told as of an earlier one")

    def event(self, event: Event) -> None:
        """Take in what hooks are told."""
        if isinstance(event, StartAbandoned):
            self.note(f"abandoned {event.target}: {event.run and event.run.id} {type(event.error).__name__}")
            self.abandoned.append(event)

    # The end of a life that was not killed

    def accounted(self, *, handles: Mapping[str, Any]) -> None:
        """See that each start of this life that may have begun a run is known to somebody."""
        known: dict[str, list[Outcome]] = defaultdict(list)
        for (_, key), outcomes in self.outcomes.items():
            known[key] += outcomes
        for row in self.rows.values():
            for attempt in row.attempts:
                if attempt.life != self.life or attempt.is_refused:
                    continue
                if not self._is_known(row, attempt, known[row.key], handles):
                    what = "may have begun a run" if attempt.run is None else f"began {attempt.run.id}"
                    self.fail(
                        "lost", f"the start of {row.key} {what}, the journal has {row.state}, nobody is told"
                    )

    def _is_known(
        self, row: Row, attempt: Attempt, outcomes: list[Outcome], handles: Mapping[str, Any]
    ) -> bool:
        """Return whether the journal, an outcome, a handle or a hook tells of an attempt."""
        run = None if attempt.run is None else attempt.run.id
        refs = [row.ref, *(outcome.ref for outcome in outcomes)]
        events = [event for event in self.abandoned if event.target == f"t-{row.key}"]
        told = {ref.id for ref in refs if ref is not None}
        told |= {event.run.id for event in events if event.run is not None}
        told.add(handles.get(row.key, ""))
        return (
            run in told
            or row.key in self.told
            or (row.state is RowState.UNKNOWN and attempt in row.since)
            or any(isinstance(event.error, StartUnknown) for event in events)
            or any(_is_unknown(outcome) for outcome in outcomes)
        )

    def nothing_unsent(self) -> None:
        """See that no row was left SENDING whose request never left."""
        for row in self.rows.values():
            if row.state is RowState.SENDING and row.sending_in == self.life and not row.since:
                self.fail(
                    "SENDING though unsent", f"{row.key} was never sent, and will be reported as unknown"
                )

    def asked_alone(self) -> None:
        """See that a row is only left unrecorded if the journal refused it by itself."""
        for (_, key), outcomes in self.outcomes.items():
            if any(each.state is RowState.SENDING for each in outcomes) and key not in self.refused:
                self.fail("not asked alone", f"{key} is told as sending, and was only refused beside others")

    def has_outcome(self, batch: int, key: str) -> bool:
        """Return whether a row was told in this life, other than as what stands twice."""
        return any(not _is_fault(each) for each in self.outcomes.get((batch, key), ()))

    def outcomes_of(self, batch: int) -> Counter[RowState]:
        """Count outcomes of this life by state, without those of what is no row."""
        return Counter(
            each.state
            for (number, _), outcomes in self.outcomes.items()
            if number == batch
            for each in outcomes
            if not _is_fault(each)
        )


def _is_unknown(outcome: Outcome) -> bool:
    """Return whether an outcome says that the row may have been started."""
    if isinstance(outcome.error, StartUnknown):
        return True
    return (
        outcome.state is RowState.SENDING
        and outcome.ref is None
        and not isinstance(outcome.error, PoolClosed)
    )


def _is_fault(outcome: Outcome) -> bool:
    """Return whether an outcome is of what is no row, or stands twice."""
    return (
        outcome.state is RowState.REFUSED
        and isinstance(outcome.error, ValueError)
        and not isinstance(outcome.error, AgentsError)
    )
