"""The interface of the journal: claims, changes, unfinished rows, and what is refused."""

import asyncio
import gc
import threading
from datetime import datetime
from hashlib import blake2b
from itertools import pairwise, product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from aioagents.batch import BY_HAND, MOVES, BatchJournal, BatchRow, Journal, RowState
from aioagents.batch.journal import digest_of
from aioagents.batch.plan import ENDS
from aioagents.codec import encode_deep
from aioagents.errors import JournalError
from aioagents.model import RunRef
from tests.batch.journal_rig import PATHS, ask, at, change, claim, find, journal_at, ref_of, states_of, walk
from tests.fakes import EPOCH, FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "batch.db"


async def test_is_a_batch_journal(path: Path) -> None:
    """A `Journal` is a `BatchJournal` for type checkers, which is all that a batch needs."""
    journal: BatchJournal = journal_at(path)
    assert repr(journal) == f"<Journal {str(path)!r} closed>"


async def test_claims_rows_that_are_new(path: Path) -> None:
    """New rows become PLANNED, in order, with their target, digest and owner, and without their content."""
    row = BatchRow("a", "triage", message="hunter2", input={"password": "hunter3"})
    async with journal_at(path) as journal:
        first, second = await journal.claim([row, BatchRow("b", "triage")])
        assert repr(journal) == f"<Journal {str(path)!r} open>"
        assert (journal.path, journal.owner) == (str(path), "here:1")
    assert (first.key, first.target, first.state) == ("a", "triage", RowState.PLANNED)
    assert (first.digest, first.owner, first.is_repeated) == (digest_of(row), "here:1", False)
    assert (first.ref, first.sent_at, first.ended_at, first.output) == (None, None, None, None)
    assert second.key == "b"
    assert b"hunter" not in b"".join(each.read_bytes() for each in path.parent.iterdir())


async def test_owner_is_host_and_process_by_default(path: Path) -> None:
    """The default owner is host and process."""
    async with Journal(path) as journal:
        (record,) = await claim(journal, "a")
    assert record.owner == journal.owner
    assert record.owner.rpartition(":")[2].isdigit()


async def test_digest_is_of_content_and_not_of_order() -> None:
    """Target, message and input make the digest; the order of an input's members and the key do not."""
    row = BatchRow("a", "t", input={"x": {"p": 1, "q": [1, 2]}, "y": 2})
    same = BatchRow("b", "t", input=MappingProxyType({"y": 2, "x": {"q": [1, 2], "p": 1}}))
    others = [
        BatchRow("a", "t2", input=row.input),
        BatchRow("a", "t", message="m", input=row.input),
        BatchRow("a", "t", input={"x": {"p": 1, "q": [2, 1]}, "y": 2}),
        BatchRow("a", "t"),
    ]
    assert digest_of(row) == digest_of(same)
    assert len({digest_of(each) for each in [row, *others]}) == 5


def test_digests_do_not_change_between_versions() -> None:
    """A digest is that of the content as compact JSON with sorted members: older journals rely on it."""
    row = BatchRow("a", "t", "héllo", {"b": [1, 2.5, None], "a": True})
    content = '["t","héllo",{"a":true,"b":[1,2.5,null]}]'.encode()
    assert digest_of(row) == blake2b(content, digest_size=16).digest()


async def test_a_known_row_is_returned_as_it_is(path: Path) -> None:
    """A row that is claimed after a restart has its state, times and run."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
    async with journal_at(path, owner="there:2") as journal:
        record = await find(journal, "a")
    assert (record.state, record.ref, record.is_repeated) == (RowState.STARTED, ref_of("a"), False)
    assert (record.sent_at, record.ended_at, record.owner) == (at(0), None, "here:1")


async def test_repeated_keys(path: Path) -> None:
    """The second claim of a key is repeated, within a call and in a later one, until another run begins."""
    async with journal_at(path) as journal:
        records = await claim(journal, "a", "b", "a")
        assert [record.is_repeated for record in records] == [False, False, True]
        assert (await find(journal, "b")).is_repeated
        await journal.begin()
        assert not (await find(journal, "b")).is_repeated
        assert (await find(journal, "b")).is_repeated
    async with journal_at(path) as journal:
        assert not (await find(journal, "a")).is_repeated
        assert (await find(journal, "a")).is_repeated


async def test_a_change_is_not_a_claim(path: Path) -> None:
    """A row that was changed since the opening, but not claimed, does not count as repeated."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
    async with journal_at(path, owner="there:2") as journal:
        await journal.record([change("a", RowState.FAILED)])
        record = await find(journal, "a")
    assert (record.is_repeated, record.owner) == (False, "there:2")


async def test_rows_changed_before_their_claim(path: Path) -> None:
    """Rows that were changed before their claim are `is_changed`, in that run only."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
        await walk(journal, "b", RowState.STARTED)
        for state in (RowState.COMPLETED, None):
            await journal.begin()
            if state is not None:
                await journal.record([change("a", state)])
            found = [await find(journal, key) for key in ("a", "b", "c")]
            assert [each.is_changed for each in found] == [state is not None, False, False]
            assert not any(each.is_held for each in found)


async def test_a_run_counts_as_an_opening(path: Path) -> None:
    """A run that begins counts as an opening, unless nothing was claimed or changed since the one before."""
    clock = FakeClock()
    async with journal_at(path, clock=clock) as journal:
        for key in ("a", None, "b"):
            await journal.begin()
            await clock.advance(5)
            if key is not None:
                await claim(journal, key)
    micros = [int(at(seconds).timestamp() * 1e6) for seconds in (0, 5, 15)]
    assert ask(path, "SELECT opened_at, closed_at FROM opening ORDER BY number") == [*pairwise(micros)]
    with Journal.read_only(path) as reader:
        assert reader.summary().openings == 2


async def test_a_run_that_could_not_begin_changes_nothing(path: Path) -> None:
    """If the begin of a run cannot be written, the run before goes on, and the journal stays open."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        path.rename(path.with_name("away"))  # noqa: ASYNC240 - a test may block
        with pytest.raises(JournalError, match="moved"):
            await journal.begin()
        path.with_name("away").rename(path)
        assert (await find(journal, "a")).is_repeated
        await journal.begin()
        assert not (await find(journal, "a")).is_repeated


@pytest.mark.parametrize(
    "row", [BatchRow("a", "other"), BatchRow("a", "target", "m"), BatchRow("a", "target", input={"x": 1})]
)
async def test_changed_content_is_refused(path: Path, row: BatchRow) -> None:
    """A known key with another content is named, with what to do, and no row of that call is claimed."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        await journal.begin()
        with pytest.raises(JournalError, match=r"'a'.*restore its input.*another key") as caught:
            await journal.claim([BatchRow("new", "target"), row])
        assert caught.value.key == "a"
    assert states_of(path) == {"a": "planned"}


async def test_a_repeated_key_is_repeated_whatever_its_content(path: Path) -> None:
    """A key that is claimed again in a run with another content is repeated, with the first row's record."""
    async with journal_at(path) as journal:
        first, second = await journal.claim([BatchRow("a", "target"), BatchRow("a", "other")])
        (third,) = await journal.claim([BatchRow("a", "another", "m")])
    assert [each.is_repeated for each in (first, second, third)] == [False, True, True]
    assert {(each.target, each.digest) for each in (second, third)} == {("target", first.digest)}


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (BatchRow("half \ud800", "t"), ValueError),
        (BatchRow("a", "half \ud800"), ValueError),
        (BatchRow("a", "t", "half \ud800"), TypeError),
        (BatchRow("a", "t", input={"x": {1, 2}}), TypeError),
    ],
)
async def test_rows_that_cannot_be_stored(path: Path, row: BatchRow, error: type[Exception]) -> None:
    """A row that cannot be stored raises TypeError or ValueError, and no row of that call is claimed."""
    async with journal_at(path) as journal:
        with pytest.raises(error):
            await journal.claim([BatchRow("good", "t"), row])
    assert states_of(path) == {}


def _facts(key: str, state: RowState, target: RowState) -> dict[str, Any]:
    """Return what a change has to say besides: a row that ends right after SENDING names its run."""
    return {"ref": ref_of(key)} if state is RowState.SENDING and target in ENDS.values() else {}


@pytest.mark.parametrize("end", ENDS.values())
async def test_end_right_after_sending(path: Path, end: RowState) -> None:
    """A row whose start was answered by the end of its run goes there in one change, which names the run."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.SENDING)
        with pytest.raises(JournalError, match="'a' cannot be started without its run's reference"):
            await journal.record([change("a", end, seconds=2)])
        assert (await find(journal, "a")).state is RowState.SENDING
        facts = {"ref": ref_of("a"), "status": "over", "output": [1]}
        await journal.record([change("a", end, seconds=2, ended_at=at(1), **facts)])
        [record] = await journal.unemitted(10)
        assert (record.state, record.ref, record.status, record.output) == (end, ref_of("a"), "over", [1])
        assert (record.sent_at, record.ended_at) == (at(0), at(1))
        assert [each async for each in journal.unfinished()] == []
    with Journal.read_only(path) as view:
        assert view.durations()[end].count == 1


async def test_transitions_are_those_of_the_table(path: Path) -> None:
    """From each state, every transition of the table is made, and every other one is refused and changes nothing."""
    async with journal_at(path) as journal:
        for state, target in product(RowState, RowState):
            key = f"{state} {target}"
            await walk(journal, key, state)
            if target in MOVES[state]:
                await journal.record([change(key, target, **_facts(key, state, target))])
                expected = target
            else:
                with pytest.raises(JournalError, match=f"'{key}' is {state}, and cannot become {target}"):
                    await journal.record([change(key, target)])
                expected = state
            assert (await find(journal, key)).state is expected


async def test_transitions_by_hand_are_those_of_both_tables(path: Path) -> None:
    """A change by hand may use the transitions of `BY_HAND` as well, and clears earlier errors."""
    async with journal_at(path) as journal:
        for state, target in product(RowState, RowState):
            key = f"{state} {target}"
            await walk(journal, key, state)
            if target in MOVES[state] | BY_HAND.get(state, frozenset()):
                facts = _facts(key, state, target)
                await journal.record([change(key, target, is_by_hand=True, **facts)])
                assert (await find(journal, key)).state is target
            else:
                with pytest.raises(JournalError, match=f"'{key}' is {state}, and cannot become {target}"):
                    await journal.record([change(key, target, is_by_hand=True)])
        await walk(journal, "wrong", RowState.STARTED)
        await journal.record([change("wrong", RowState.STARTED, ref=ref_of("right"), is_by_hand=True)])
        assert (await find(journal, "wrong")).ref == ref_of("right")
        await journal.record([change("wrong", RowState.PLANNED, is_by_hand=True)])
        again = await find(journal, "wrong")
        assert (again.ref, again.sent_at) == (None, None)
        await walk(journal, "no", RowState.REFUSED, kind="BadRequest", error="no such tea")
        await journal.record([change("no", RowState.PLANNED, is_by_hand=True)])
        again = await find(journal, "no")
        assert (again.kind, again.error, again.ended_at) == ("", "", None)


async def test_every_state_is_reached() -> None:
    """The paths of these tests lead to every state, so that the table is tested from each."""
    assert set(PATHS) == set(RowState)


async def test_keeps_the_results_of_runs(path: Path) -> None:
    """A row keeps its run, times, the vendor's status, the error and the output unchanged."""
    output = {"text": "naïve \x00 😀", "list": [1, 2.5, None, True]}
    members = {"status": "failed\0", "kind": "RunFailed", "error": "nul \0, ☃", "output": output}
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.FAILED, **members)
        record = await find(journal, "a")
    assert (record.status, record.kind, record.error) == ("failed\0", "RunFailed", "nul \0, ☃")
    assert (record.output, record.ref) == (output, ref_of("a"))
    assert (record.sent_at, record.ended_at) == (at(0), at(2))


@pytest.mark.parametrize(
    ("reported", "kept"),
    [(5, 5), (0, 0), (9, 9), (-1, 9), (10, 9), (None, 9)],
    ids=lambda seconds: f"{seconds}",
)
async def test_end_by_the_vendors_clock(path: Path, reported: float | None, kept: float) -> None:
    """The vendor's time for the end of a run is used if it lies between start and change: clocks may differ."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED)
        ended_at = None if reported is None else at(reported)
        await journal.record([change("a", RowState.COMPLETED, seconds=9, ended_at=ended_at)])
        assert (await find(journal, "a")).ended_at == at(kept)


@pytest.mark.parametrize("output", [False, 0, "", [], {}, "text", 1e300, 2**63])
async def test_outputs_of_any_shape_are_kept(path: Path, output: Any) -> None:
    """An output that is empty or false is kept like any other."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.COMPLETED, output=output)
        assert (await find(journal, "a")).output == output


async def test_an_end_can_always_be_recorded(path: Path) -> None:
    """An output as deep as can be read is kept; one that is not JSON is replaced by a note."""
    deep: Any = None
    for _ in range(1023):
        deep = [deep]
    async with journal_at(path) as journal:
        for key, output in {"deep": deep, "deeper": [deep], "set": {1}, "half": ["\ud800"]}.items():
            await walk(journal, key, RowState.COMPLETED, output=output)
        kept = {record.key: encode_deep(record.output) for record in await journal.unemitted(9)}
    with Journal.read_only(path) as reader:
        assert {record.key: encode_deep(record.output) for record in reader.records()} == kept
    assert (kept["deep"], kept["half"]) == (encode_deep(deep), b'["?"]')
    assert b"could not be kept: not JSON-able: nested more than 1023" in kept["deeper"]
    assert b"could not be kept: not JSON-able: Type is not JSON" in kept["set"]


@pytest.mark.parametrize("count", [1, 3, 64, 65, 127, 129, 300])
async def test_any_number_of_rows_is_written_at_once(path: Path, count: int) -> None:
    """However many rows a call has, and whatever it sets, each row has its values, and no other row is changed."""
    keys = [str(number) for number in range(count)]
    given: dict[str, Any] = {"status": "s", "kind": "k", "error": "e", "output": [1]}
    facts = [dict(list(given.items())[: number % 5]) for number in range(count)]
    async with journal_at(path) as journal:
        await claim(journal, "before", *keys, "after")
        await journal.record([change(key, RowState.SENDING) for key in keys])
        await journal.record([change(key, RowState.STARTED) for key in keys])
        ends = [change(key, RowState.FAILED, **fact) for key, fact in zip(keys, facts, strict=True)]
        await journal.record(ends)
        found = await journal.unemitted(count + 1)
        assert [record.key for record in found] == keys
        for record, fact in zip(found, facts, strict=True):
            assert (record.ref, record.sent_at, record.ended_at) == (ref_of(record.key), at(0), at(0))
            kept = {name: getattr(record, name) for name in given if getattr(record, name)}
            assert kept == fact
        assert [(await find(journal, key)).state for key in ("before", "after")] == [RowState.PLANNED] * 2


async def test_many_changes_of_a_row_in_one_call(path: Path) -> None:
    """Changes of one row in one call are made one after the other, also if it is settled and reopened."""
    way = [RowState.SENDING, RowState.UNKNOWN, RowState.PLANNED, RowState.SENDING, RowState.STARTED]
    async with journal_at(path) as journal:
        await claim(journal, "a", "b")
        steps = [
            change(key, state, seconds=number, kind="lost" if state is RowState.UNKNOWN else "")
            for number, state in enumerate(way)
            for key in ("a", "b")
        ]
        await journal.record([*steps, change("b", RowState.FAILED, seconds=9)])
        first, second = await find(journal, "a"), await find(journal, "b")
        await journal.record([change("a", RowState.COMPLETED)])
    assert (first.state, first.kind, first.sent_at, first.ended_at) == (RowState.STARTED, "", at(3), None)
    assert (second.state, second.kind, second.sent_at, second.ended_at) == (RowState.FAILED, "", at(3), at(9))
    assert states_of(path) == {"a": "completed", "b": "failed"}


async def test_refusals_among_many_calls(path: Path) -> None:
    """Of calls that share a commit, claims or changes, each is refused or made by itself."""
    keys = [str(number) for number in range(100)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        await journal.begin()
        rows = [BatchRow(key, "target" if int(key) % 3 else "other") for key in keys]
        changes = [change(key, RowState.SENDING if int(key) % 4 else RowState.FAILED) for key in keys]
        calls = (*(journal.claim([row]) for row in rows), *(journal.record([each]) for each in changes))
        results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [isinstance(result, JournalError) for result in results]
    assert refused == [*(not int(key) % 3 for key in keys), *(not int(key) % 4 for key in keys)]
    assert states_of(path) == {key: "sending" if int(key) % 4 else "planned" for key in keys}
    assert ask(path, "SELECT key FROM row WHERE claimed_in = 1") == [
        (key,) for key in keys if not int(key) % 3
    ]


async def test_columns_that_are_not_given_stay(path: Path) -> None:
    """A change without status, kind, error or output leaves them as they were."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED, status="queued", kind="k", error="e", output=[1])
        await journal.record([change("a", RowState.COMPLETED, seconds=9, status="done")])
        record = await find(journal, "a")
    assert (record.status, record.kind, record.error, record.output) == ("done", "k", "e", [1])
    assert (record.ref, record.sent_at, record.ended_at) == (ref_of("a"), at(0), at(9))


async def test_a_planned_row_keeps_its_error(path: Path) -> None:
    """A row that is PLANNED again keeps its error and counts as not sent; the next attempt clears it."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.SENDING)
        await journal.record([change("a", RowState.PLANNED, kind="NotSent", error="refused")])
        record = await find(journal, "a")
        assert (record.kind, record.error, record.sent_at) == ("NotSent", "refused", None)
        await journal.record([change("a", RowState.SENDING, seconds=7)])
        record = await find(journal, "a")
    assert (record.kind, record.error, record.sent_at) == ("", "", at(7))


@pytest.mark.parametrize("state", [RowState.STARTED, RowState.PLANNED, RowState.DROPPED])
async def test_settling_by_hand_clears_the_error(path: Path, state: RowState) -> None:
    """A row that leaves UNKNOWN loses its error."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.UNKNOWN, kind="StartUnknown", error="lost")
        await journal.record([change("a", state, seconds=5)])
        record = await find(journal, "a")
    assert (record.kind, record.error) == ("", "")
    assert record.sent_at == (None if state is RowState.PLANNED else at(0))
    assert record.ended_at == (at(5) if state is RowState.DROPPED else None)


async def test_started_needs_its_run(path: Path) -> None:
    """STARTED without a reference is refused: such a run could not be followed."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.SENDING)
        with pytest.raises(JournalError, match="reference") as caught:
            await journal.record([change("a", RowState.STARTED, ref=None)])
        assert caught.value.key == "a"
        assert (await find(journal, "a")).state is RowState.SENDING


async def test_a_call_is_made_as_a_whole(path: Path) -> None:
    """Changes of one call are made in order, each seeing the one before, and all of them or none."""
    async with journal_at(path) as journal:
        await claim(journal, "a", "b")
        await journal.record([change("a", RowState.SENDING), change("a", RowState.STARTED)])
        with pytest.raises(JournalError, match="'b' is planned"):
            await journal.record([change("a", RowState.FAILED), change("b", RowState.FAILED)])
        with pytest.raises(JournalError, match="no row 'c'"):
            await journal.record([change("b", RowState.SENDING), change("c", RowState.SENDING)])
        await journal.record([])
        assert await journal.claim([]) == []
    assert states_of(path) == {"a": "started", "b": "planned"}


async def test_a_refused_change_fails_only_its_own_caller(path: Path) -> None:
    """In one commit, a refused change fails only its caller; the other changes are made."""
    async with journal_at(path) as journal:
        await claim(journal, *(str(number) for number in range(20)))
        before = journal.statistics()
        changes = [
            *(change(str(number), RowState.SENDING) for number in range(20)),
            change("0", RowState.COMPLETED),
            change("lost", RowState.SENDING),
            change("1", RowState.STARTED, ref=None),
            change("2", RowState.STARTED),
        ]
        results = await asyncio.gather(*(journal.record([each]) for each in changes), return_exceptions=True)
        statistics = journal.statistics()
        await journal.begin()
        with pytest.raises(JournalError):
            await journal.claim([BatchRow("0", "changed")])
    assert [type(each) for each in results] == [*[type(None)] * 20, *[JournalError] * 3, type(None)]
    assert (statistics.commits - before.commits, statistics.writes - before.writes) == (1, 21)
    assert states_of(path) == {**{str(number): "sending" for number in range(20)}, "2": "started"}


async def test_times_need_a_zone(path: Path) -> None:
    """A time without a zone raises TypeError before anything is changed."""
    odd = datetime(2026, 1, 1)  # noqa: DTZ001 - the fault
    async with journal_at(path) as journal:
        await claim(journal, "a")
        with pytest.raises(TypeError):
            await journal.record([attrs.evolve(change("a", RowState.SENDING), at=odd)])
        assert (await find(journal, "a")).state is RowState.PLANNED


async def test_surrogates_in_errors_are_replaced(path: Path) -> None:
    """Lone surrogates in an error's message are replaced: the end of a run has to be recorded."""
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.FAILED, error="bad \udcff byte")
        assert (await find(journal, "a")).error == "bad ? byte"


async def test_unfinished_rows(path: Path) -> None:
    """SENDING and STARTED rows are returned in the order of claims, and no others."""
    async with journal_at(path) as journal:
        for state in RowState:
            await walk(journal, state.value, state)
        many = [f"more-{number}" for number in range(200)]
        await claim(journal, *many)
        await journal.record([change(key, RowState.SENDING) for key in many])
        found = [record async for record in journal.unfinished()]
        assert [record.key for record in found] == [*sorted(("sending", "started")), *many]
        assert found[1].ref == ref_of("started")


async def test_rows_may_change_while_unfinished_rows_are_read(path: Path) -> None:
    """Rows that end between two pages are not returned, and none is returned twice."""
    async with journal_at(path) as journal:
        keys = [str(number) for number in range(300)]
        await claim(journal, *keys)
        await journal.record([change(key, RowState.SENDING) for key in keys])
        found: list[str] = []
        async for record in journal.unfinished():
            if not found:
                await journal.record([change(key, RowState.UNKNOWN) for key in keys[::2]])
            found.append(record.key)
    assert len(found) == len(set(found))
    assert set(keys[1::2]) <= set(found)
    assert len(found) < 300


async def test_keys_are_compared_exactly(path: Path) -> None:
    """Keys that differ in case, after a NUL, in composition or in trailing blanks are different rows."""
    keys = ["a", "A", "a ", "a\0", "a\0b", "é", "e\u0301", "1", "01", "1.0", "'; --", "😀"]
    async with journal_at(path) as journal:
        records = await claim(journal, *keys)
        assert [record.key for record in records] == keys
        assert not any(record.is_repeated for record in records)
        await journal.record([change("a\0b", RowState.SENDING)])
        assert [record.key async for record in journal.unfinished()] == ["a\0b"]


async def test_a_thousand_callers_share_few_commits(path: Path) -> None:
    """A thousand changes requested at once need one commit, not one each."""
    keys = [str(number) for number in range(1000)]
    async with journal_at(path) as journal:
        await asyncio.gather(*(claim(journal, key) for key in keys))
        before = journal.statistics()
        await asyncio.gather(*(journal.record([change(key, RowState.SENDING)]) for key in keys))
        after = journal.statistics()
    assert after.commits - before.commits <= 2
    assert (after.writes - before.writes, after.rows - before.rows, after.waiting) == (1000, 1000, 0)


async def test_commits_have_a_limit(path: Path) -> None:
    """More than 2,048 rows at once go into several commits; a single call is never split."""
    keys = [str(number) for number in range(5000)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        assert journal.statistics().commits == 1
        await asyncio.gather(*(journal.record([change(key, RowState.SENDING)]) for key in keys))
        assert journal.statistics().commits == 4
    assert set(states_of(path).values()) == {"sending"}


async def test_rows_are_right_however_many_are_open(path: Path) -> None:
    """Six thousand open rows keep their states, also those that were not changed for long."""
    keys = [str(number) for number in range(6000)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        for state in (RowState.SENDING, RowState.STARTED, RowState.COMPLETED):
            await journal.record([change(key, state) for key in keys])
        assert [record.key async for record in journal.unfinished()] == []
        assert [record.key for record in await journal.unemitted(9999)] == keys


async def test_changes_of_cancelled_callers_are_whole(path: Path) -> None:
    """The changes of cancelled callers are made as a whole, and the journal goes on working."""
    keys = [str(number) for number in range(100)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        tasks = [
            asyncio.ensure_future(
                journal.record([change(key, RowState.SENDING), change(key, RowState.STARTED)])
            )
            for key in keys
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in results] == [True, False] * 50
        await claim(journal, "later")
    assert states_of(path) == {**dict.fromkeys(keys, "started"), "later": "planned"}


async def test_leaving_waits_for_pending_calls(path: Path) -> None:
    """When the block is left, pending changes are on disk and the thread has ended."""
    async with journal_at(path) as journal:
        tasks = [asyncio.ensure_future(claim(journal, str(number))) for number in range(500)]
        await asyncio.sleep(0)
        assert journal.statistics().waiting == 500
    assert len(states_of(path)) == 500
    assert [thread for thread in threading.enumerate() if "journal" in thread.name] == []
    await asyncio.gather(*tasks)


async def test_closed_journals_refuse_calls(path: Path) -> None:
    """Before and after the block, calls are refused; closing twice is harmless; it can be opened again."""
    journal = journal_at(path)
    await journal.aclose()
    for _ in range(2):
        with pytest.raises(JournalError, match="async with"):
            await claim(journal, "a")
        with pytest.raises(JournalError, match="async with"):
            journal.statistics()
        async with journal:
            await claim(journal, "a")
            with pytest.raises(JournalError, match="open already"):
                await journal.__aenter__()
        await journal.aclose()
    assert ask(path, "SELECT count(*), count(closed_at) FROM opening") == [(2, 2)]


async def test_cancelled_while_opening_it_is_closed(path: Path) -> None:
    """Cancelling the opening leaves neither thread nor lock behind."""
    journal = journal_at(path)
    opening = asyncio.ensure_future(journal.__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [thread for thread in threading.enumerate() if "journal" in thread.name] == []
    with Journal.read_only(path) as reader:
        assert (reader.summary().openings, reader.summary().is_in_use) == (1, False)
    async with journal:
        await claim(journal, "a")


async def test_openings_are_recorded(path: Path) -> None:
    """Each opening has its owner and its times, by the given clock."""
    clock = FakeClock()
    for owner in ("one", "two"):
        async with journal_at(path, owner=owner, clock=clock):
            await clock.advance(5)
    micros = int(EPOCH.timestamp() * 1e6)
    assert ask(path, "SELECT owner, opened_at, closed_at FROM opening ORDER BY number") == [
        ("one", micros, micros + 5_000_000),
        ("two", micros + 5_000_000, micros + 10_000_000),
    ]


async def test_belongs_to_the_event_loop_of_its_opening(path: Path) -> None:
    """A call from another event loop is refused, since its result would never arrive."""
    async with journal_at(path) as journal:

        def elsewhere() -> None:
            with pytest.raises(JournalError, match="another event loop"):
                asyncio.run(claim(journal, "a"))

        await asyncio.to_thread(elsewhere)


def _drop_all(journals: list[Journal]) -> None:
    journals.clear()
    gc.collect()


async def test_dropped_unclosed_it_warns(path: Path) -> None:
    """A journal that is dropped without being closed warns, and its thread closes the file nevertheless."""
    journals = [journal_at(path)]
    await journals[0].__aenter__()
    (thread,) = [each for each in threading.enumerate() if "journal" in each.name]
    with pytest.warns(ResourceWarning, match="unclosed journal"):
        _drop_all(journals)
    await asyncio.to_thread(thread.join)
    async with journal_at(path):
        pass


def test_a_loop_that_is_closed_first_does_no_harm(path: Path) -> None:
    """A journal left open by a closed loop loses nothing, and can be opened again once it is dropped."""
    journals = []

    async def leave_open() -> None:
        journal = journal_at(path)
        await journal.__aenter__()
        await claim(journal, "a")
        journals.append(journal)

    asyncio.run(leave_open())
    (thread,) = [each for each in threading.enumerate() if "journal" in each.name]
    with pytest.warns(ResourceWarning, match="unclosed journal"):
        _drop_all(journals)
    thread.join()
    assert states_of(path) == {"a": "planned"}


async def test_references_are_kept_exactly(path: Path) -> None:
    """A reference with a slash, a blank or a percent sign is read back unchanged."""
    ref = RunRef("leap", "api.example.com:8443", "a/b %2F ü")
    async with journal_at(path) as journal:
        await walk(journal, "a", RowState.STARTED, ref=ref)
        assert (await find(journal, "a")).ref == ref
