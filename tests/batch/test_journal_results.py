"""Which results are in the output: each once, in the order of settling, and rewritten if one has changed."""

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
    """Rows are returned in the order in which they were settled, not claimed; open rows are not returned."""
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


async def test_order_survives_restarts(path: Path) -> None:
    """Rows that are settled after a restart come after those settled before it."""
    keys = [f"row-{number}" for number in range(150)]
    for some in (keys[100:], keys[:100]):
        async with journal_at(path) as journal:
            await claim(journal, *keys)
            await journal.record([change(key, RowState.REFUSED) for key in some])
    async with journal_at(path) as journal:
        assert await _keys(journal) == keys[100:] + keys[:100]
        assert await _keys(journal, 120) == (keys[100:] + keys[:100])[:120]


async def test_each_result_is_emitted_once(path: Path) -> None:
    """A recorded result is not returned again, also after a restart, and the size of the output is kept."""
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
    [["emitted"], ["free", "emitted"], ["started"], ["free", "nobody"], ["free", "free"]],
    ids=["twice", "one twice", "open", "not known", "double"],
)
async def test_results_that_cannot_be_emitted_are_refused(path: Path, keys: list[str]) -> None:
    """A row that is open, unknown or emitted before is refused, and then no row of the call is recorded."""
    async with journal_at(path) as journal:
        await claim(journal, "emitted", "free")
        await journal.record([change("emitted", RowState.REFUSED), change("free", RowState.REFUSED)])
        await walk(journal, "started", RowState.STARTED)
        await journal.record_emitted(["emitted"], 10)
        with pytest.raises(JournalError, match="recorded as emitted once"):
            await journal.record_emitted(keys, 99)
        assert (await _keys(journal), await journal.emitted_size()) == (["free"], 10)


async def test_repeated_keys_are_found_in_long_calls(path: Path) -> None:
    """A key that occurs twice in a long call is refused too."""
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


async def test_a_change_of_an_emitted_result_makes_the_output_stale(path: Path) -> None:
    """An UNKNOWN row that was emitted and is settled by hand is returned again, and after a reset all rows are."""
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


async def test_a_change_of_an_emitted_refusal_makes_the_output_stale(path: Path) -> None:
    """A REFUSED row that was emitted and is settled by hand is returned again, once it is settled."""
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


async def test_rows_claimed_before_they_were_emitted_make_it_stale_too(path: Path) -> None:
    """A change counts also if the row was claimed, or a change of it refused, before its result was emitted."""
    async with journal_at(path) as journal:
        await walk(journal, "lost", RowState.UNKNOWN)
        await find(journal, "lost")
        with pytest.raises(JournalError):
            await journal.record([change("lost", RowState.COMPLETED)])
        await journal.record_emitted(["lost"], 10)
        await journal.record([change("lost", RowState.PLANNED)])
        assert await journal.is_output_stale()


async def test_unknown_rows_that_were_not_emitted_do_not_matter(path: Path) -> None:
    """Settling a row by hand whose result is not in the output does not make the output stale."""
    async with journal_at(path) as journal:
        await walk(journal, "lost", RowState.UNKNOWN)
        await journal.record([change("lost", RowState.DROPPED)])
        assert not await journal.is_output_stale()
        assert await _keys(journal) == ["lost"]


async def test_a_refused_change_does_not_make_the_output_stale(path: Path) -> None:
    """A call that fails as a whole does not make the output stale."""
    async with journal_at(path) as journal:
        await walk(journal, "lost", RowState.UNKNOWN)
        await journal.record_emitted(["lost"], 10)
        with pytest.raises(JournalError):
            await journal.record([change("lost", RowState.DROPPED), change("lost", RowState.STARTED)])
        assert not await journal.is_output_stale()
        assert (await find(journal, "lost")).state is RowState.UNKNOWN


async def test_pages_are_read_through_indexes(path: Path) -> None:
    """Results to emit are found through an index, and unfinished rows in one pass over all pages."""
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
