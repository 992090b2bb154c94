"""Emits events to hooks and the log. A hook that raises cannot break a call."""

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction

from .events import Event
from .logs import is_verbose, log_event, log_hook_error

Hook = Callable[[Event], object]


class Dispatcher:
    """Emits each event to the log and to every hook, in order, in the context variables of the code that emits it."""

    __slots__ = ("_failed", "_hooks", "is_detailed")

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks: tuple[Hook, ...] = tuple(hooks)
        for hook in self._hooks:
            if not callable(hook):
                raise TypeError(f"a hook has to be callable with one event, not {type(hook).__name__}")
            if iscoroutinefunction(hook):
                raise TypeError(
                    f"a hook is called and not awaited, so {hook!r} must not be a coroutine function"
                )
        self._failed: set[int] = set()  # indexes, since hooks need not be hashable
        #: Whether events that every request causes are wanted.
        self.is_detailed = bool(self._hooks) or is_verbose()

    def __call__(self, event: Event) -> None:
        """Emit `event`."""
        log_event(event)
        for index, hook in enumerate(self._hooks):
            try:
                hook(event)
            except Exception as exc:  # noqa: BLE001 - an error of a hook must not end the call
                if index not in self._failed:
                    self._failed.add(index)
                    log_hook_error(hook, exc)
