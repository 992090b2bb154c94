"""What becomes visible of an error: its texts and attributes, and the local variables of its tracebacks."""

import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from rich.pretty import traverse

from aioagents import AgentsError, StreamCut

_TESTS: Final = str(Path(__file__).parents[1])


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts, and the members of groups, each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of all tracebacks of an error that are not of the tests."""
    for each in chain_of(error):
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if not frame.f_code.co_filename.startswith(_TESTS):
                yield frame


def locals_in(error: BaseException) -> Iterator[str]:
    """Yield the local variables of the frames of an error, as tools show them."""
    for frame in frames_of(error):
        where = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"
        for name, value in frame.f_locals.items():
            yield f"{where}: {name} = {value!r}"
            yield f"{where}: {name} = {_pretty(value)}"


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield what an error itself shows: its texts, its attributes, and its pickle."""
    for each in chain_of(error):
        yield f"{type(each).__name__}: {each} {each!r} {each.args!r}"
        for name, value in vars(each).items():
            if not (isinstance(each, StreamCut) and name == "received"):  # documented: what a server sent
                yield f"{type(each).__name__}.{name} = {value!r}"
        if isinstance(each, AgentsError) and not isinstance(each, StreamCut):
            yield f"{type(each).__name__} pickled: {pickle.dumps(each)!r}"


def _pretty(value: object) -> str:
    """Return a value as rich shows it in a traceback with `show_locals`."""
    return traverse(value, max_length=1000, max_string=100_000).render(max_width=100_000)
