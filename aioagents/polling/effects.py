"""What the core of the polling engine decides and its driver carries out: hooks, listeners and waiters to inform."""

from typing import NamedTuple

from ..errors import AgentsError
from ..model import Run
from ..observe import Event
from .runs import PolledRun, Push, Waiters


class Show(NamedTuple):
    """Those who listen are to have what a poll saw."""

    waiters: Waiters
    run: Run


class End(NamedTuple):
    """All who waited are to have the run's end, or the error that a wait raises. The run holds them no more."""

    waiters: Waiters
    end: Run | AgentsError


class Missed(NamedTuple):
    """A receiver is to know that a run ended that it did not wake."""

    push: Push


#: Hooks are to have an event; or one of the above.
Effect = Event | Show | End | Missed


def fault_of(run: PolledRun, exc: Exception) -> AgentsError:
    """Return the error that a wait raises for a fault that is not the vendor's."""
    fault = AgentsError(f"polling {run.ref} failed: {type(exc).__name__}")
    fault.__cause__ = exc
    return fault
