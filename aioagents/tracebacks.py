"""Keeps secrets out of tracebacks: tools that print them with local variables (rich, pytest) would show these.

Values that carry secrets hide them in their own `repr` (`Secret`, `SecretMapping`, `Request`, `Reply`, `Token`), so
most frames have nothing to hide. What is here is for the few that hold them in plain strings, bytes and dicts: where
a body is built or read, where bytes go out, and where a caller passes arguments.
"""

import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from traceback import walk_tb
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_SUSPENDABLE: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts, and the members of groups, each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions


def drop_tracebacks(error: BaseException) -> None:
    """Drop the tracebacks of an error and of all in its chain."""
    for each in chain(error):
        each.__traceback__ = None


def cut_traceback(error: BaseException) -> None:
    """End the traceback of a caught error at the frame of the caller. Those in the rest of its chain are dropped."""
    trace = error.__traceback__
    drop_tracebacks(error)
    if trace is not None:
        trace.tb_next = None
        error.__traceback__ = trace


def hide_locals(error: BaseException) -> None:
    """Clear the local variables of all functions that ended by a caught error, or by one in its chain.

    Lines and files stay. Coroutines and generators are left alone, since they may not have ended.
    """
    for each in chain(error):
        for frame, _ in walk_tb(each.__traceback__):
            if not frame.f_code.co_flags & _SUSPENDABLE:
                _clear(frame)


def hides_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function, or coroutine function, that does the same, and whose local variables no traceback shows.

    Those of the functions that it calls are not shown either; those of coroutines that it awaits are.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            hide_locals(error)
            raise
        finally:
            del args, kwargs

    @wraps(function)
    async def call_and_wait(*args: Any, **kwargs: Any) -> Any:
        try:
            return await asynchronous(*args, **kwargs)
        except BaseException as error:
            trace = error.__traceback__
            if trace is not None and trace.tb_next is not None:
                _clear(trace.tb_next.tb_frame)  # of the coroutine, which has ended
            hide_locals(error)
            raise
        finally:
            del args, kwargs

    if not inspect.iscoroutinefunction(function):
        return call
    asynchronous: Callable[..., Coroutine[Any, Any, Any]] = function
    return cast("Callable[P, T]", call_and_wait)


def _clear(frame: FrameType) -> None:
    with suppress(RuntimeError):  # it has not ended: the caller's own
        frame.clear()
