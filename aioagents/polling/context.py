"""Work of the crew, done with the context variables of whoever waits."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class Contexts:
    """The variables of several who wait for one run. Used like a `Context`: that of the first who still waits."""

    __slots__ = ("_contexts",)

    def __init__(self) -> None:
        self._contexts: dict[object, Context] = {}

    def add(self, owner: object, context: Context) -> None:
        """Note the variables of `owner`, a future or somebody who says when it leaves."""
        if len(self._contexts) & (len(self._contexts) - 1) == 0:  # now and then, as waiters are
            self._contexts = {each: its for each, its in self._contexts.items() if not _is_done(each)}
        self._contexts[owner] = context

    def drop(self, owner: object) -> None:
        """Forget who has left; harmless when it is not known."""
        self._contexts.pop(owner, None)

    @property
    def run(self) -> Callable[..., Any]:
        """Return what calls a function in one of the contexts; in the present one where none is left."""
        for owner, context in self._contexts.items():
            if not _is_done(owner):
                return context.run
        return _call


def _is_done(owner: object) -> bool:
    return isinstance(owner, asyncio.Future) and owner.done()


def _call(act: Callable[..., Any], *arguments: object) -> Any:
    return act(*arguments)


class Within:
    """Awaits a coroutine step by step inside `context`, in a task that has another one.

    The fixed crew serves waiters of all kinds; what a poll tells and logs has to carry the variables (trace,
    request id) of whoever waits.
    """

    __slots__ = ("_context", "_coroutine")

    def __init__(self, context: Context | Contexts, coroutine: "Coroutine[Any, Any, T]") -> None:
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


def within(context: Context | Contexts | None, act: Callable[..., None], *arguments: object) -> None:
    """Act in the waiter's context, so that what is told finds the waiter's variables."""
    if context is None:
        act(*arguments)
    else:
        context.run(act, *arguments)
