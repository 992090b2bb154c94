"""Typed rows a second, over a bare orjson decode of the same pages.

Measured without any I/O (from a page's bytes to rows, and then with every typed property read once), and over
loopback against a bare aiohttp GET and orjson.loads of the same pages, one after another on both sides.
"""

import argparse
import gc
import time
from collections.abc import Callable

import aiohttp
import orjson

from aioagents import SessionPool, codec
from aioagents.providers.leena.rows import CALL, ReportRow, read_page
from aioagents.providers.leena.settings import VENDOR

from .clients import HEADERS, make_leena, run_loop
from .figures import Series, say, whole
from .pages import make_pages
from .server import serving

_PROPERTIES = tuple(name for name, kind in vars(ReportRow).items() if isinstance(kind, property))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rows", type=whole, default=20_000)
    parser.add_argument("--page-size", type=whole, default=100)
    parser.add_argument("--rounds", type=whole, default=7)


def run(options: argparse.Namespace) -> None:
    """Measure round by round, all sides in each."""
    seconds: dict[str, list[float]] = {name: [] for name in ("loads", "typed", "all", "get", "report")}
    pages = make_pages(options.rows, options.page_size)[:-1]

    async def measure() -> None:
        for _ in range(options.rounds):
            for name, read in (("loads", _loads), ("typed", _typed), ("all", _typed_and_read)):
                seconds[name].append(_time(read, pages))
            seconds["get"].append(await _get(url, options.rows, options.page_size))
            seconds["report"].append(await _report(url, options.rows, options.page_size))

    with serving(rows=options.rows, page_size=options.page_size) as url:
        run_loop(measure, is_uvloop=False)
    size = sum(map(len, pages)) / options.rows
    say(f"{options.rows} rows of {size:.0f} bytes, {options.page_size} a page, {options.rounds} rounds")
    for name, description in (
        ("loads", "orjson.loads"),
        ("typed", "typed rows"),
        ("all", f"typed rows, all {len(_PROPERTIES)} properties read"),
        ("get", "aiohttp GET and orjson.loads over loopback"),
        ("report", "leena.report over loopback"),
    ):
        rates = Series([options.rows / each for each in seconds[name]])
        say(f"{description}: {rates.show('rows a second', digits=0)}")
    pure, read, over = (
        Series.ratio(seconds[bare], seconds[ours])
        for bare, ours in (("loads", "typed"), ("loads", "all"), ("get", "report"))
    )
    say(
        f"ratios round by round: typed {pure.show(digits=2)}, read {read.show(digits=2)}, whole {over.show(digits=2)}"
    )
    say(
        f"report: {pure.middle:.2f} times bare rows a second (aim 0.5), {read.middle:.2f} with every property "
        f"read, {over.middle:.2f} over loopback"
    )


def _time(read: Callable[[bytes], object], pages: list[bytes]) -> float:
    gc.collect()
    began_at = time.perf_counter()
    for page in pages:
        read(page)
    return time.perf_counter() - began_at


def _loads(page: bytes) -> object:
    return orjson.loads(page)["result"]["rows"]


def _typed(page: bytes) -> list[ReportRow]:
    return read_page(codec.decode(page, vendor=VENDOR, call=CALL)).rows


def _typed_and_read(page: bytes) -> None:
    for row in _typed(page):
        for name in _PROPERTIES:
            getattr(row, name)


async def _get(url: str, rows: int, page_size: int) -> float:
    target = f"{url}/api/analytics/query/external"
    query = {
        "metricId": "aic:totalRunsTable",
        "responseType": "table",
        "from": "1970-01-01",
        "to": "2026-12-31",
        "limit": str(page_size),
    }
    found = 0
    gc.collect()
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        began_at = time.perf_counter()
        for page in range(1, -(-rows // page_size) + 2):
            async with session.get(target, params={**query, "page": str(page)}) as response:
                found += len(orjson.loads(await response.read())["result"]["rows"])
        spent = time.perf_counter() - began_at
    if found != rows:
        raise RuntimeError(f"{found} rows came instead of {rows}")
    return spent


async def _report(url: str, rows: int, page_size: int) -> float:
    found = 0
    gc.collect()
    async with SessionPool() as pool:
        leena = make_leena(pool, url)
        began_at = time.perf_counter()
        async for _ in leena.report("1970-01-01", "2026-12-31", page_size=page_size):
            found += 1
        spent = time.perf_counter() - began_at
    if found != rows:
        raise RuntimeError(f"{found} rows came instead of {rows}")
    return spent
