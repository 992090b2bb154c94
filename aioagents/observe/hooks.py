"""Tells events to hooks. A hook that raises cannot break a call."""

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction

from .events import Event
from .logs import is_verbose, log_event, log_hook_error

Hook = Callable[[Event], object]


class Dispatcher:
    """Tells each event to the log and to every hook, in order, in the context of whoever causes it."""

    __slots__ = ("_complained", "_hooks", "is_detailed")

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks: tuple[Hook, ...] = tuple(hooks)
        for hook in self._hooks:
            if not callable(hook):
                raise TypeError(f"a hook has to be callable with one event, not {type(hook).__name__}")
            if iscoroutinefunction(hook):
                raise TypeError(
                    f"a hook is called and not awaited, so {hook!r} must not be a coroutine function"
                )
        self._complained: set[int] = set()  # by place, since hooks need not be hashable
        #: Whether somebody wants the events that every single request causes.
        self.is_detailed = bool(self._hooks) or is_verbose()

    def __call__(self, event: Event) -> None:
        """Tell `event`."""
        log_event(event)
        for place, hook in enumerate(self._hooks):
            try:
                hook(event)
            except Exception as exc:  # noqa: BLE001 - a listener's fault is not the call's
                if place not in self._complained:
                    self._complained.add(place)
                    log_hook_error(hook, exc)
