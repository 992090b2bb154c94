"""How rows come into a batch: those that an earlier run left open, then the input, claimed as it is read. Pure."""

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime

from ..contract import BatchRow
from .backlog import Backlog
from .outbox import Outbox
from .outcome import Outcome
from .plan import lost_start, unstarted
from .record import Change, Record, RowState
from .rows import RowFault
from .settings import BatchSettings
from .states import Found, Phase, Row


class Intake:
    """Takes rows, never more than `BatchSettings.ahead` of them ahead of what is started or followed.

    A row is claimed as soon as it was read, many rows at a time. Reading continues once half of the
    rows ahead are gone, so that claims stay large.
    """

    def __init__(
        self, settings: BatchSettings, outbox: Outbox, backlog: Backlog, *, reports_found: bool
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._backlog = backlog
        self._reports_found = reports_found
        self._unclaimed: deque[BatchRow] = deque()
        self._claiming: Sequence[BatchRow] = ()
        self._single_claims = 0  # rows to be claimed one by one, since one of them cannot be claimed at all
        self._waits_for_input = self._waits_for_open = False
        self._input_ended = self._open_ended = False
        self._lost = 0  # rows of an earlier run that are SENDING, and not settled yet
        #: Rows that are claimed and may be started.
        self.ready: deque[Row] = deque()
        #: Rows whose run an earlier run of the batch started, and which is to be followed.
        self.waiting: deque[Row] = deque()
        #: Rows from claim to outcome, by key; and those that an earlier run left.
        self.active: dict[str, Row] = {}
        self.resumed: dict[str, Row] = {}
        self.rows_read = 0
        self.rows_resumed = 0

    # What an earlier run left

    def found_open(self, record: Record, utc: datetime) -> bool:
        """Take a row that is SENDING or STARTED; return whether another one may be read. If not, `ReadOpen` comes."""
        if record.is_changed or record.key in self.resumed:
            return True
        if record.state is RowState.SENDING:
            self._found_sending(record, utc)
            is_full = self._lost >= self._settings.ahead
        else:
            row = Row(record.key, record.target, Phase.WAITING, ref=record.ref)
            self.resumed[record.key] = row
            self.waiting.append(row)
            self.rows_resumed += 1
            is_full = len(self.waiting) >= self._settings.ahead
        self._waits_for_open |= is_full
        return not is_full

    def _found_sending(self, record: Record, utc: datetime) -> None:
        """Settle a row whose process was killed while it was sent: its start may or may not have been accepted."""
        self._lost += 1
        if self._settings.is_resending:  # once the input comes to it
            row = Row(record.key, record.target, Phase.REPLANNING)
            change = Change(key=record.key, state=RowState.PLANNED, at=utc)
        else:
            row = Row(record.key, record.target, Phase.LOST)
            row.error = lost_start(record)
            change = unstarted(record.key, RowState.UNKNOWN, row.error, at=utc)
        self.resumed[record.key] = row
        self._backlog.add(row, change)

    def sending_ended(self) -> bool:
        """Note that all rows SENDING were found; return whether they are settled. If not, `ReadOpen` comes."""
        self._waits_for_open |= self._lost > 0
        return not self._lost

    def open_ended(self) -> None:
        """Note that an earlier run left no more rows than were found."""
        self._open_ended = True

    def settled(self, row: Row, *, is_recorded: bool) -> None:
        """Take the journal's answer for a row that is LOST or REPLANNING."""
        if row.input is not None:
            self._replanned(row, is_recorded=is_recorded)
            return
        self._lost -= 1
        if row.phase is Phase.LOST and is_recorded:
            self._outbox.emit(
                Outcome(key=row.key, state=RowState.UNKNOWN, target=row.target, error=row.error)
            )
        self.forget(row)

    # The input

    def read(self, row: object) -> bool:
        """Take a row of the input; return whether another one may be read. If not, `ReadInput` comes.

        Raises TypeError for what is no row.
        """
        self.rows_read += 1
        if isinstance(row, RowFault):
            self._outbox.refuse(row.key, row)
        elif isinstance(row, BatchRow):
            self._unclaimed.append(row)
        else:
            raise TypeError(f"rows have to be BatchRow values, not {type(row).__name__}")
        self._waits_for_input = self._ahead >= self._settings.ahead or not self.is_outcome_wanted
        return not self._waits_for_input

    def input_ended(self) -> None:
        """Note that the input has no more rows."""
        self._input_ended = True

    def claimed(self, records: Sequence[Record], utc: datetime) -> None:
        """Take the journal's answer to `Claim`: a record for each row, in order."""
        rows, self._claiming = self._claiming, ()
        for row, record in zip(rows, records, strict=True):
            self._sort(row, record, utc)

    def claim_failed(self, error: TypeError | ValueError) -> None:
        """Note that one of the rows of `Claim` cannot be stored; claim them one by one to find out which."""
        rows, self._claiming = self._claiming, ()
        if len(rows) == 1:
            self._outbox.refuse(rows[0].key, error)
        else:
            self._unclaimed.extendleft(reversed(rows))
            self._single_claims = len(rows)

    def _sort(self, row: BatchRow, record: Record, utc: datetime) -> None:
        """Start, report or skip a row, depending on its record in the journal."""
        is_repeated = record.is_repeated or row.key in self.active
        is_unknown = record.state is RowState.UNKNOWN and not record.is_changed
        if is_repeated and not (record.is_held or self._reports_found):
            self._outbox.refuse(row.key, _repeated(row))
        elif is_repeated or record.is_held:
            self._found(row, record)  # its owner reports its outcome
        elif record.state is RowState.PLANNED:
            self._add(row, Phase.READY)
        elif is_unknown and self._settings.is_resending:
            change = Change(key=row.key, state=RowState.PLANNED, at=utc)
            self._backlog.add(self._add(row, Phase.REPLANNING), change)
        else:  # settled before; or an earlier run left it, and it was found by `found_open`
            if record.state.is_settled and not record.is_changed:
                self._outbox.emit(Outcome.of_record(record))
            self._found(row, record)

    def _add(self, row: BatchRow, phase: Phase) -> Row:
        added = self.active[row.key] = Row(row.key, row.target, phase, row=row)
        self.ready.append(added)  # in the order of the input, also where it has to be recorded first
        return added

    def _replanned(self, row: Row, *, is_recorded: bool) -> None:
        if is_recorded:
            row.move(Phase.READY)
        else:
            self.ready.remove(row)
            self.forget(row)

    def _found(self, row: BatchRow, record: Record) -> None:
        if self._reports_found:
            self._outbox.add(Found(row, record))

    # Decisions

    @property
    def is_outcome_wanted(self) -> bool:
        """Return whether few enough outcomes are unread; if not, nothing is read and nothing is started."""
        return self._outbox.unread < self._settings.in_flight

    @property
    def _ahead(self) -> int:
        return len(self._unclaimed) + len(self._claiming) + len(self.ready)

    def next_claim(self) -> Sequence[BatchRow]:
        """Return the rows to be claimed next, none while a claim is out."""
        if self._claiming or not self._unclaimed:
            return ()
        count = 1 if self._single_claims else min(len(self._unclaimed), self._settings.chunk)
        self._single_claims -= self._single_claims > 0
        self._claiming = [self._unclaimed.popleft() for _ in range(count)]
        return self._claiming

    def has_room_for_input(self) -> bool:
        """Return once whether reading of the input continues."""
        half = self._settings.ahead - self._settings.chunk
        if not self._waits_for_input or self._ahead > half or not self.is_outcome_wanted:
            return False
        self._waits_for_input = False
        return True

    def has_room_for_open(self) -> bool:
        """Return once whether reading of the rows that an earlier run left open continues."""
        half = self._settings.ahead - self._settings.chunk
        if not self._waits_for_open or self._lost or len(self.waiting) > half:
            return False
        self._waits_for_open = False
        return True

    @property
    def is_done(self) -> bool:
        """Return whether no row will come in any more."""
        is_left = self._unclaimed or self._claiming or self.ready or self.waiting or self._lost
        return self._input_ended and self._open_ended and not is_left

    @property
    def is_open_done(self) -> bool:
        """Return whether each row that an earlier run left is settled, or followed."""
        return self._open_ended and not (self.waiting or self._lost)

    def release(self, keys: Collection[str]) -> None:
        """Forget rows that are not SENDING yet: another owner has them now."""
        kept: deque[Row] = deque()
        for row in self.ready:
            if row.phase is Phase.READY and row.key in keys:
                self.forget(row)
            else:
                kept.append(row)
        self.ready = kept

    def forget(self, row: Row) -> None:
        """Forget a row."""
        row.move(Phase.GONE)
        rows = self.resumed if row.input is None else self.active
        del rows[row.key]


def _repeated(row: BatchRow) -> ValueError:
    words = f"the key {row.key!r} stands twice in the input"
    return ValueError(words) if row.line is None else RowFault(row.line, words, row.key)
