"""Local variables in tracebacks: which are cleared, which stay, and that nothing that still runs is disturbed."""

import asyncio
import inspect
import traceback

import pytest

from aioagents.tracebacks import chain, cut_traceback, drop_tracebacks, hide_locals, hides_locals

SECRET = "hunter2"


def _shown(error: BaseException) -> dict[str, dict[str, object]]:
    """Return the local variables of each function in all tracebacks of an error."""
    return {
        frame.f_code.co_name: dict(frame.f_locals)
        for each in chain(error)
        for frame, _ in traceback.walk_tb(each.__traceback__)
    }


def _fail(password: str) -> None:
    copy = password
    raise ValueError(f"{len(copy)} characters")


@hides_locals
def _login(password: str) -> None:
    """Log in."""
    shown = f"<{password}>"
    _fail(shown)


@hides_locals
async def _login_later(password: str) -> None:
    shown = f"<{password}>"
    await asyncio.sleep(0)
    _fail(shown)


def test_arguments_of_functions() -> None:
    """Neither the arguments of the function nor those of what it calls are shown; the lines are."""
    with pytest.raises(ValueError, match="9 characters") as caught:
        _login(SECRET)
    shown = _shown(caught.value)
    assert [shown["_login"], shown["_fail"]] == [{}, {}]
    assert SECRET not in repr(shown["call"])
    assert "_fail(shown)" in "".join(traceback.format_exception(caught.value))


async def test_arguments_of_coroutines() -> None:
    """The same holds for coroutine functions."""
    with pytest.raises(ValueError, match="9 characters") as caught:
        await _login_later(password=SECRET)
    shown = _shown(caught.value)
    assert [shown["_login_later"], shown["_fail"]] == [{}, {}]
    assert SECRET not in repr(shown["call_and_wait"])


async def test_cancellations() -> None:
    """A cancellation shows as little."""
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0):
            await _login_later(SECRET)
    assert SECRET not in repr(
        [text for name, text in _shown(caught.value).items() if name != "test_cancellations"]
    )


def test_decorated_functions_stay_what_they_are() -> None:
    """Name, docstring, signature and kind are kept."""
    assert (_login.__name__, _login.__doc__) == ("_login", "Log in.")
    assert list(inspect.signature(_login).parameters) == ["password"]
    assert inspect.iscoroutinefunction(_login_later)
    assert not inspect.iscoroutinefunction(_login)


async def test_coroutines_that_go_on_are_left_alone() -> None:
    """Where a coroutine caught the error and goes on, clearing would end it: on Python 3.12 and before, at once."""
    caught: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    may_end = asyncio.Event()

    async def go_on() -> str:
        try:
            _fail(SECRET)
        except ValueError as error:
            caught.set_result(error)
        await may_end.wait()
        return "whole"

    task = asyncio.ensure_future(go_on())
    error = await caught
    hide_locals(error)
    assert _shown(error)["_fail"] == {}
    may_end.set()
    assert await task == "whole"


def test_causes_contexts_and_groups() -> None:
    """All errors that belong to one are reached, each once, in circles too."""
    inner, cause, context, outer = (ValueError(name) for name in ("inner", "cause", "context", "outer"))
    group = ExceptionGroup("group", [inner, ValueError("second")])
    outer.__cause__, outer.__context__ = cause, group
    cause.__context__ = context
    context.__context__ = outer
    assert sorted(str(each) for each in chain(outer) if each is not group) == [
        "cause",
        "context",
        "inner",
        "outer",
        "second",
    ]
    for each in (inner, context):
        try:
            _fail(SECRET)
        except ValueError as error:
            each.__traceback__ = error.__traceback__
    hide_locals(outer)
    assert _shown(outer)["_fail"] == {}
    drop_tracebacks(outer)
    assert _shown(outer) == {}


def test_a_traceback_is_cut_where_it_was_caught() -> None:
    """What is above stays; what is below, and whatever belongs to the causes, is dropped."""

    def raise_from_it() -> None:
        try:
            _fail(SECRET)
        except ValueError as exc:
            raise KeyError("x") from exc

    def cut() -> None:
        try:
            raise_from_it()
        except KeyError as error:
            cut_traceback(error)
            raise

    with pytest.raises(KeyError) as caught:
        cut()
    assert list(_shown(caught.value)) == ["test_a_traceback_is_cut_where_it_was_caught", "cut"]
    unraised = ValueError("never raised")
    cut_traceback(unraised)
    assert unraised.__traceback__ is None
