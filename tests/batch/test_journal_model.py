"""The journal against a dict: whatever is claimed, changed, emitted, closed and killed, both have the same rows."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from aioagents.batch import MOVES, BatchRow, Journal, RowState
from aioagents.batch.journal import digest_of
from aioagents.batch.plan import ENDS
from aioagents.errors import JournalError
from tests.batch.journal_rig import at, change, freeze, journal_at, ref_of, thaw

T = TypeVar("T")

_KEYS = st.sampled_from(["a", "b", "b\0", "ключ", "'", "1"])
_ROWS = st.builds(BatchRow, key=_KEYS, target=st.sampled_from(["t", "t", "t", "u"]))
_WORDS = st.sampled_from(["", "", "word", 'quo"te\0', "☃"])
_OUTPUTS = st.none() | st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_CHANGES = st.builds(
    lambda key, state, seconds, has_ref, **members: change(
        key, state, seconds=seconds, **({"ref": ref_of(key)} if has_ref else {}), **members
    ),
    key=_KEYS,
    state=st.sampled_from(RowState),
    has_ref=st.booleans(),
    seconds=st.integers(-1000, 1000),
    status=_WORDS,
    kind=_WORDS,
    error=_WORDS,
    output=_OUTPUTS,
)


@attrs.define
class _Row:
    """A row of the model."""

    target: str
    digest: bytes
    owner: str
    state: RowState = RowState.PLANNED
    members: dict[str, Any] = attrs.Factory(dict)
    sent: int | None = None
    ended: int | None = None
    is_claimed: bool = True
    is_changed: bool = False
    is_emitted: bool = False


class _Model:
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, _Row] = {}
        self.settled: list[str] = []
        self.size = 0
        self.is_stale = False

    def copied(self) -> "_Model":
        """Return a copy."""
        other = _Model()
        other.rows = {key: attrs.evolve(row, members=dict(row.members)) for key, row in self.rows.items()}
        other.settled, other.size, other.is_stale = list(self.settled), self.size, self.is_stale
        return other

    def change(self, each: Any, owner: str) -> bool:
        """Make a change, or return false if it has to be refused."""
        row = self.rows.get(each.key)
        if row is None or each.state not in MOVES[row.state]:
            return False
        if row.state is RowState.SENDING and each.state in ENDS.values() and each.ref is None:
            return False
        if row.state is RowState.UNKNOWN:
            self.is_stale |= row.is_emitted
            self.settled.remove(each.key)
        if row.state is RowState.UNKNOWN or each.state is RowState.SENDING:
            row.members.clear()
        seconds = int((each.at - at(0)).total_seconds())
        given = {name: getattr(each, name) for name in ("ref", "status", "kind", "error")}
        row.members |= {name: value for name, value in given.items() if value}
        if each.output is not None:
            row.members["output"] = each.output
        row.state, row.owner, row.is_emitted, row.is_changed = each.state, owner, False, True
        if each.state in {RowState.SENDING, RowState.PLANNED}:
            row.sent = seconds if each.state is RowState.SENDING else None
        row.ended = seconds if each.state.is_settled else None
        if each.state.is_settled:
            self.settled.append(each.key)
        return True

    @property
    def unemitted(self) -> list[str]:
        """Return settled rows that were not emitted, in order."""
        return [key for key in self.settled if not self.rows[key].is_emitted]


class _Machine(RuleBasedStateMachine):
    """Does the same with both."""

    @initialize()
    def begin(self) -> None:
        """Open a new journal."""
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.openings = 0
        self.model = _Model()
        self.path = self.folder / "0.db"
        self._open()

    def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def main() -> T:
            return await work()

        return self.runner.run(main())

    def _open(self) -> None:
        self.openings += 1
        self.owner = f"owner:{self.openings}"
        self.journal: Journal = journal_at(self.path, owner=self.owner)
        self._do(self.journal.__aenter__)
        self._begin_run()

    def _begin_run(self) -> None:
        for row in self.model.rows.values():
            row.is_claimed = row.is_changed = False

    def _refuses(self, work: Callable[[], Awaitable[object]]) -> bool:
        try:
            self._do(work)
        except JournalError:
            return True
        return False

    def _check(self, found: Any) -> None:
        row = self.model.rows[found.key]
        assert (found.target, found.digest, found.state) == (row.target, row.digest, row.state)
        assert found.owner == row.owner
        assert found.sent_at == (None if row.sent is None else at(row.sent))
        assert found.ended_at == (None if row.ended is None else at(row.ended))
        for name, default in (("ref", None), ("status", ""), ("kind", ""), ("error", ""), ("output", None)):
            assert getattr(found, name) == row.members.get(name, default), name

    @rule(rows=st.lists(_ROWS, min_size=1, max_size=4))
    def claim(self, rows: list[BatchRow]) -> None:
        """Claim rows, some known, some twice, some with another content."""
        digests = {key: row.digest for key, row in self.model.rows.items() if not row.is_claimed}
        firsts = {row.key: row for row in reversed(rows)}
        if any(digests.get(key, digest_of(row)) != digest_of(row) for key, row in firsts.items()):
            assert self._refuses(lambda: self.journal.claim(rows))
            return
        for row, found in zip(rows, self._do(lambda: self.journal.claim(rows)), strict=True):
            known = self.model.rows.get(row.key)
            assert found.is_repeated == (known is not None and known.is_claimed)
            if not found.is_repeated:
                assert found.is_changed == (known is not None and known.is_changed)
            if known is None:
                self.model.rows[row.key] = _Row(row.target, digest_of(row), self.owner)
            self.model.rows[row.key].is_claimed = True
            self._check(found)

    @rule(changes=st.lists(_CHANGES, min_size=1, max_size=3))
    def record(self, changes: list[Any]) -> None:
        """Make changes in one call, all or none."""
        after = self.model.copied()
        if all(after.change(each, self.owner) for each in changes):
            self._do(lambda: self.journal.record(changes))
            self.model = after
        else:
            assert self._refuses(lambda: self.journal.record(changes))

    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """Make one legal transition, so that the end states are reached."""
        movable = [key for key, row in self.model.rows.items() if MOVES[row.state]]
        if not movable:
            return
        key = data.draw(st.sampled_from(sorted(movable)))
        state = data.draw(st.sampled_from(sorted(MOVES[self.model.rows[key].state])))
        self.record(
            [change(key, state, seconds=7, **({"ref": ref_of(key)} if data.draw(st.booleans()) else {}))]
        )

    @rule(keys=st.lists(_KEYS, min_size=1, max_size=3), size=st.integers(0, 10**12))
    def record_emitted(self, keys: list[str], size: int) -> None:
        """Record results as emitted, some of which cannot be."""
        if set(keys) <= set(self.model.unemitted) and len(set(keys)) == len(keys):
            self._do(lambda: self.journal.record_emitted(keys, size))
            self.model.size = size
            for key in keys:
                self.model.rows[key].is_emitted = True
        else:
            assert self._refuses(lambda: self.journal.record_emitted(keys, size))

    @rule(limit=st.integers(1, 3))
    def emit_next(self, limit: int) -> None:
        """Emit the next results."""
        keys = [record.key for record in self._do(lambda: self.journal.unemitted(limit))]
        assert keys == self.model.unemitted[:limit]
        if keys:
            self.record_emitted(keys, self.model.size + len(keys))

    @rule()
    def reset(self) -> None:
        """Reset what was emitted."""
        self._do(self.journal.reset_emission)
        self.model.size, self.model.is_stale = 0, False
        for row in self.model.rows.values():
            row.is_emitted = False

    @rule()
    def begin_run(self) -> None:
        """Begin another run with the same opening."""
        self._do(self.journal.begin)
        self._begin_run()

    @rule()
    def reopen(self) -> None:
        """Close the journal and open it again."""
        self._do(self.journal.aclose)
        self._open()

    @rule()
    def crash(self) -> None:
        """Continue with the files as a killed process would leave them."""
        files = freeze(self.path)
        self._do(self.journal.aclose)
        thaw(self.path, files)
        self._open()

    @invariant()
    def has_the_same_rows(self) -> None:
        """Check that the journal has what the model has."""

        async def read() -> tuple[Any, ...]:
            journal = self.journal
            unfinished = [record async for record in journal.unfinished()]
            unemitted = await journal.unemitted(100)
            return unfinished, unemitted, await journal.emitted_size(), await journal.is_output_stale()

        unfinished, unemitted, size, is_stale = self._do(read)
        open_states = {RowState.SENDING, RowState.STARTED}
        assert {record.key for record in unfinished} == {
            key for key, row in self.model.rows.items() if row.state in open_states
        }
        assert [record.key for record in unemitted] == self.model.unemitted
        assert (size, is_stale) == (self.model.size, self.model.is_stale)
        for record in (*unfinished, *unemitted):
            self._check(record)

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "runner"):
            self._do(self.journal.aclose)
            self.runner.close()
            shutil.rmtree(self.folder)


def test_is_equal_to_a_dict() -> None:
    """Whatever is done, in whatever order, the journal has the same rows as a dict."""
    run_state_machine_as_test(
        _Machine, settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )
