"""What leaves the core of a batch: commands, in order, and outcomes until the reader has left. Pure."""

from collections import Counter
from collections.abc import Iterable

from .outcome import Outcome
from .record import RowState
from .states import Abandon, Command, Emit, Row


class Outbox:
    """Collects commands for the driver, and counts the outcomes among them.

    Once the reader has left, an outcome is dropped if the journal has what it says. If not, its start is reported as
    abandoned, since nothing else says that its run exists.
    """

    __slots__ = ("_commands", "faulty", "is_left", "replayed", "states", "unread")

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self.is_left = False
        #: Outcomes that were not taken yet.
        self.unread = 0
        #: Outcomes of rows that are none, or whose key stands twice; those of an earlier run; all others by state.
        self.faulty = 0
        self.replayed = 0
        self.states: Counter[RowState] = Counter()

    def add(self, command: Command) -> None:
        """Add a command."""
        self._commands.append(command)

    def take(self) -> list[Command]:
        """Return the commands given since the last time."""
        commands, self._commands = self._commands, []
        return commands

    def leave(self, unread: Iterable[Emit]) -> None:
        """Note that the reader has left, without the outcomes in `unread` and those among the commands."""
        commands = self.take()
        self.is_left = True
        self.unread = 0
        for emitted in (*unread, *(each for each in commands if isinstance(each, Emit))):
            if emitted.row is not None:
                self.abandon(emitted.row)
        self._commands[:0] = [each for each in commands if not isinstance(each, Emit)]

    def emit(self, outcome: Outcome, row: Row | None = None) -> None:
        """Report an outcome; with its `row` where the journal does not have what it says."""
        if not self.is_left:
            self.states[outcome.state] += 1
            self.replayed += outcome.is_replayed
        self._emit(outcome, row)

    def refuse(self, key: str, error: Exception) -> None:
        """Report an input item that is not started: it is faulty, or its key is repeated."""
        self.faulty += not self.is_left
        self._emit(Outcome(key=key, state=RowState.REFUSED, error=error), None)

    def abandon(self, row: Row) -> None:
        """Report the outcome of a start that nobody waits for, unless it was certainly not sent."""
        if row.ref is not None or row.sent_at is not None:
            self._commands.append(Abandon(row, row.error))

    def _emit(self, outcome: Outcome, row: Row | None) -> None:
        if not self.is_left:
            self.unread += 1
            self._commands.append(Emit(outcome, row))
        elif row is not None:
            self.abandon(row)
