"""Work of the crew, done with the context variables of whoever waits."""

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class Within:
    """Awaits a coroutine step by step inside `context`, in a task that has another one.

    The fixed crew serves waiters of all kinds; what a look tells and logs has to carry the variables (trace,
    request id) of whoever waits.
    """

    __slots__ = ("_context", "_coroutine")

    def __init__(self, context: Context, coroutine: "Coroutine[Any, Any, T]") -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> "Generator[Any, Any, Any]":
        run, coroutine = self._context.run, self._coroutine
        step, value = coroutine.send, None
        while True:
            try:
                awaited = run(step, value)
            except StopIteration as stop:
                return stop.value
            try:
                value = yield awaited
                step = coroutine.send
            except BaseException as exc:  # noqa: BLE001 - a cancellation included, it belongs to the coroutine
                step, value = coroutine.throw, exc


def within(context: Context | None, act: Callable[..., None], *arguments: object) -> None:
    """Act in the waiter's context, so that what is told finds the waiter's variables."""
    if context is None:
        act(*arguments)
    else:
        context.run(act, *arguments)
