"""Which results were given out: each once, in the order of settling, and anew once a given one has changed."""

from pathlib import Path

import pytest

from aioagents.batch import Journal, RowState
from aioagents.batch.journal.schema import OPEN_PAGE, UNEMITTED_PAGE
from aioagents.errors import JournalError
from tests.batch.journal_rig import ask, at, change, claim, find, journal_at, walk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal that does not exist yet."""
    return tmp_path / "batch.db"


async def _keys(journal: Journal, limit: int = 1000) -> list[str]:
    return [record.key for record in await journal.unemitted(limit)]


async def test_settled_rows_wait_in_the_order_of_settling(path: Path) -> None:
    """Rows are given in the order in which they were settled, not claimed; those that are open are not given."""
    async with journal_at(path) as journal:
        await claim(journal, "a", "b", "c", "d", "e")
        await journal.record([change("d", RowState.REFUSED, kind="BadRequest")])
        await walk(journal, "b", RowState.FAILED, error="words", output=[1])
        await walk(journal, "e", RowState.STARTED)
        await walk(journal, "a", RowState.UNKNOWN)
        first, second, third = await journal.unemitted(10)
        assert [each.key for each in (first, second, third)] == ["d", "b", "a"]
        assert (first.kind, first.sent_at, first.ended_at) == ("BadRequest", None, at(0))
        assert (second.error, second.output, second.sent_at, second.ended_at) == ("words", [1], at(0), at(2))
        assert await _keys(journal, 2) == ["d", "b"]
        assert await _keys(journal, 0) == []


async def test_order_outlives_restarts(path: Path) -> None:
    """What is settled after a restart comes after what was settled before it."""
    keys = [f"row-{number}" for number in range(150)]
    for some in (keys[100:], keys[:100]):
        async with journal_at(path) as journal:
            await claim(journal, *keys)
            await journal.record([change(key, RowState.REFUSED) for key in some])
    async with journal_at(path) as journal:
        assert await _keys(journal) == keys[100:] + keys[:100]
        assert await _keys(journal, 120) == (keys[100:] + keys[:100])[:120]


async def test_each_result_is_given_out_once(path: Path) -> None:
    """What is marked is not given again, also after a restart, and the size of the output is known."""
    async with journal_at(path) as journal:
        await claim(journal, "a", "b", "c")
        await journal.record([change(key, RowState.REFUSED) for key in "abc"])
        assert await journal.emitted_size() == 0
        await journal.record_emitted(["a", "c"], 120)
        assert await _keys(journal) == ["b"]
    async with journal_at(path) as journal:
        assert (await _keys(journal), await journal.emitted_size()) == (["b"], 120)
        await journal.record_emitted(["b"], 180)
        assert (await _keys(journal), await journal.emitted_size()) == ([], 180)
        await journal.record_emitted([], 181)
        assert await journal.emitted_size() == 181


@pytest.mark.parametrize(
    "keys",
    [["given"], ["free", "given"], ["started"], ["free", "nobody"], ["free", "free"]],
    ids=["twice", "one twice", "open", "not known", "double"],
)
async def test_what_cannot_be_given_out_is_refused(path: Path, keys: list[str]) -> None:
    """A row that is open, not known, or given out already is refused, and then none of the call is marked."""
    async with journal_at(path) as journal:
        await claim(journal, "given", "free")
        await journal.record([change("given", RowState.REFUSED), change("free", RowState.REFUSED)])
        await walk(journal, "started", RowState.STARTED)
        await journal.record_emitted(["given"], 10)
        with pytest.raises(JournalError, match="recorded as emitted once"):
            await journal.record_emitted(keys, 99)
        assert (await _keys(journal), await journal.emitted_size()) == (["free"], 10)


async def test_doubles_are_found_however_many_there_are(path: Path) -> None:
    """A key that stands twice in a long call is refused too."""
    keys = [str(number) for number in range(200)]
    async with journal_at(path) as journal:
        await claim(journal, *keys)
        await journal.record([change(key, RowState.REFUSED) for key in keys])
        with pytest.raises(JournalError, match="recorded as emitted once"):
            await journal.record_emitted([*keys, "0"], 99)
        with pytest.raises(ValueError, match="0 or more"):
            await journal.record_emitted(keys, -1)
        await journal.record_emitted(keys, 99)
        assert await _keys(journal) == []


async def test_a_given_result_that_changes_makes_the_output_stale(path: Path) -> None:
    """An UNKNOWN row that was given out and is settled by hand is given out anew, and so is everything once reset."""
    async with journal_at(path) as journal:
        await walk(journal, "known", RowState.COMPLETED)
        await walk(journal, "lost", RowState.UNKNOWN)
        await journal.record_emitted(["known", "lost"], 200)
        assert not await journal.is_output_stale()
        await journal.record([change("lost", RowState.STARTED)])
    async with journal_at(path) as journal:
        assert await journal.is_output_stale()
        assert await _keys(journal) == []
        await journal.record([change("lost", RowState.COMPLETED)])
        assert await _keys(journal) == ["lost"]
        await journal.reset_emission()
        assert (await journal.is_output_stale(), await journal.emitted_size()) == (False, 0)
        assert await _keys(journal) == ["known", "lost"]


async def test_a_given_refusal_that_is_taken_back_makes_the_output_stale(path: Path) -> None:
    """A REFUSED row that was given out and is settled by hand is given out anew, once it is settled."""
    async with journal_at(path) as journal:
        await claim(journal, "a", "b")
        await journal.record([change(key, RowState.REFUSED) for key in "ab"])
        await journal.record_emitted(["a", "b"], 20)
        await journal.record([change("a", RowState.PLANNED, is_by_hand=True)])
        assert await journal.is_output_stale()
        assert await _keys(journal) == []
        await journal.record([change("b", RowState.DROPPED, is_by_hand=True)])
        await walk(journal, "a", RowState.COMPLETED)
        assert await _keys(journal) == ["b", "a"]


async def test_what_was_claimed_before_it_was_given_out_is_stale_too(path: Path) -> None:
    """That a result was given out counts though its row was claimed, or changed in vain, before that."""
    async with journal_at(path) as journal:
        await walk(journal, "lost", RowState.UNKNOWN)
        await find(journal, "lost")
        with pytest.raises(JournalError):
            await journal.record([change("lost", RowState.COMPLETED)])
        await journal.record_emitted(["lost"], 10)
        await journal.record([change("lost", RowState.PLANNED)])
        assert await journal.is_output_stale()


async def test_unknown_rows_that_were_not_given_out_are_no_matter(path: Path) -> None:
    """Settling by hand what nobody has seen yet leaves the output as good as it was."""
    async with journal_at(path) as journal:
        await walk(journal, "lost", RowState.UNKNOWN)
        await journal.record([change("lost", RowState.DROPPED)])
        assert not await journal.is_output_stale()
        assert await _keys(journal) == ["lost"]


async def test_a_refused_settling_leaves_the_output_good(path: Path) -> None:
    """A call that fails as a whole makes nothing stale."""
    async with journal_at(path) as journal:
        await walk(journal, "lost", RowState.UNKNOWN)
        await journal.record_emitted(["lost"], 10)
        with pytest.raises(JournalError):
            await journal.record([change("lost", RowState.DROPPED), change("lost", RowState.STARTED)])
        assert not await journal.is_output_stale()
        assert (await find(journal, "lost")).state is RowState.UNKNOWN


async def test_what_waits_is_found_without_reading_all(path: Path) -> None:
    """Results that were not given out are found through an index, and unfinished rows in one pass over all pages."""
    async with journal_at(path) as journal:
        await claim(journal, "a")
        for page, way in (
            (OPEN_PAGE, "SEARCH row USING INTEGER PRIMARY KEY (rowid>?)"),
            (UNEMITTED_PAGE, "SEARCH row USING INDEX row_unemitted (settled>?)"),
        ):
            plan = str(ask(path, f"EXPLAIN QUERY PLAN {page.replace('?', '1')}"))
            assert way in plan
            assert "SCAN row USING" not in plan
            assert "TEMP B-TREE" not in plan
