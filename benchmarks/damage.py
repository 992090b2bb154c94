"""Rows that would be started twice after the files of a journal were damaged, cut, lost, copied or mixed up.

A batch is recorded row by row; its files are kept at many instants, as they are in the middle of it. The batch then
counts as killed at the last one. Each damage puts files in place: some of the last instant, some of an earlier one,
some missing, some with bytes flipped, pages exchanged or zeroed, or the end cut off. The journal is opened again, and
a row that was sent and is now seen as not started, without an error, is a breach. Reading alone must not show one
either.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen

from aioagents.batch import BatchRow, Change, Journal, RowState
from aioagents.errors import JournalError
from aioagents.model import RunRef

from .figures import say, whole

_ROWS: Final = 600
_PAGE: Final = 4096
_ENDS: Final = ("", "-wal", "-lock")
_AT: Final = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
#: How long an output is: the log is applied to the file several times.
_OUTPUT: Final = "tea" * 700
#: Files by the ends of their names; one that is missing was removed.
Files = Mapping[str, bytes]


@frozen(kw_only=True)
class DamageReport:
    """What came of damages: how many were refused and how many were opened, and what must not be."""

    refused: int
    opened: int
    words: Mapping[str, int]
    breaches: Sequence[str]


def _rows(count: int) -> list[BatchRow]:
    return [BatchRow(f"row-{number:04}", "tea", f"cup {number}") for number in range(count)]


def _files_of(path: Path) -> Files:
    names = {end: Path(f"{path}{end}") for end in _ENDS}
    return {end: name.read_bytes() for end, name in names.items() if name.exists()}


def _put(path: Path, files: Files) -> None:
    """Put files in place; the journal's own stays the same file, as if its disk were damaged."""
    away = path.with_name("away")
    if away.exists():
        away.replace(path)
    if "" not in files:
        path.replace(away)
    for end in (*_ENDS, "-shm"):
        name = Path(f"{path}{end}")
        if end in files:
            name.write_bytes(files[end])
        else:
            name.unlink(missing_ok=True)


async def _record(path: Path, rows: int) -> tuple[list[Files], frozenset[str]]:
    """Run a batch; return its files at instants, and the rows that were sent before the last one."""
    found: list[Files] = []
    sent: set[str] = set()
    async with Journal(path) as journal:
        every = _rows(rows)
        for start in range(0, rows, 50):
            await journal.claim(every[start : start + 50])
        for number, row in enumerate(every[: -rows // 10]):
            ref = RunRef("leena", "", f"run-{row.key}")
            sent.add(row.key)
            for state, facts in (
                (RowState.SENDING, {}),
                (RowState.STARTED, {"ref": ref}),
                (RowState.COMPLETED, {"output": _OUTPUT, "status": "done"}),
            )[: number % 7 or 3]:
                await journal.record([Change(key=row.key, state=state, at=_AT, **facts)])
            if number % (rows // 12) == rows // 13:
                found.append(_files_of(path))
        found.append(_files_of(path))
    return found, frozenset(sent)


# Damages


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 20))):
        start, length = chance.randrange(len(content)), chance.choice((1, 1, 8, 64))
        part = changed[start : start + length]
        changed[start : start + length] = bytes(each ^ chance.randrange(1, 256) for each in part)
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _zero(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content)) // _PAGE * _PAGE
    end = min(start + _PAGE * chance.choice((1, 1, 3)), len(content))
    return content[:start] + bytes(end - start) + content[end:]


def _swap(content: bytes, chance: random.Random) -> bytes:
    pages = [content[start : start + _PAGE] for start in range(0, len(content), _PAGE)]
    first, second = (chance.randrange(len(pages)) for _ in range(2))
    pages[first], pages[second] = pages[second], pages[first]
    return b"".join(pages)


_DAMAGES: Final = (_flip, _cut, _zero, _swap)


def _damage(kept: Sequence[Files], chance: random.Random) -> tuple[str, Files]:
    """Return files as they may be found, and words for what was done to them."""
    last = kept[-1]
    kind = chance.random()
    if kind < 0.15:  # some files only
        # Where all are gone there was no journal: that is for `--resume` to refuse.
        ends = [end for end in _ENDS if chance.random() < 0.6] or [chance.choice(_ENDS)]
        return f"only {ends}", {end: last[end] for end in ends}
    if kind < 0.4:  # files of different instants
        instants = {end: chance.randrange(len(kept)) for end in _ENDS}
        instants[chance.choice(_ENDS[1:])] = (
            len(kept) - 1
        )  # all three of the past would be a past that was whole
        return f"of instants {instants}", {
            end: kept[at][end] for end, at in instants.items() if end in kept[at]
        }
    end = chance.choice(("", "", "-wal", "-wal", "-wal", "-lock"))
    how = chance.choice(_DAMAGES)
    return f"{how.__name__} of {end or 'the journal'}", {**last, end: how(last[end], chance)}


async def _see(path: Path, rows: int) -> list[str]:
    """Return the rows that a batch would start."""
    async with Journal(path) as journal:
        records = await journal.claim(_rows(rows))
    return [record.key for record in records if record.state is RowState.PLANNED]


def _open(path: Path, rows: int) -> list[str]:
    return asyncio.run(_see(path, rows))


def _read(path: Path, _: int) -> list[str]:
    with Journal.read_only(path) as reader:
        return [record.key for record in reader.records(state=RowState.PLANNED)]


def run_damages(folder: Path, *, count: int, seed: int = 0, rows: int = _ROWS) -> DamageReport:
    """Damage the files of one journal `count` times, each time from the start."""
    path, chance = folder / "batch.db", random.Random(seed)
    kept, sent = asyncio.run(_record(path, rows))
    words: Counter[str] = Counter()
    breaches: list[str] = []
    opened = 0
    for _ in range(count):
        what, files = _damage(kept, chance)
        _put(path, files)
        for see in (_read, _open):
            try:
                planned = see(path, rows)
            except JournalError as error:
                words[str(error).partition(": ")[0].replace(str(folder), "")[:60]] += 1
                is_opened = False
            else:
                is_opened = True
                breaches += [f"{what}: {key}" for key in planned if key in sent][:1]
        opened += is_opened
    return DamageReport(refused=count - opened, opened=opened, words=words, breaches=breaches)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--damages", type=whole, default=2000)
    parser.add_argument("--rows", type=whole, default=_ROWS)
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> None:
    """Damage a journal again and again, and print the counts."""
    began_at = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = run_damages(Path(folder), count=options.damages, seed=options.seed, rows=options.rows)
    for each in report.breaches[:20]:
        say(each)
    say(
        f"damage: {len(report.breaches)} breaches in {options.damages} damages, {report.refused} refused and "
        f"{report.opened} opened, {time.perf_counter() - began_at:.0f} s (aim 0)"
    )
