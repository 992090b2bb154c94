"""Kore Agent Platform: checks of arguments. Pure. `name` is what errors call the argument."""

from collections.abc import Iterable


def check_word(value: str, words: Iterable[str], name: str) -> str:
    """Return a word as a plain string. Raises ValueError, which lists the words, for any other."""
    found = next((str(each) for each in words if each == value), None)
    if found is None:
        raise ValueError(f"{name} has to be one of {', '.join(filter(None, words))}, not {value!r}")
    return found


def check_whole(value: int, name: str, most: int | None = None) -> int:
    """Return a whole number from 1 on. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= (most or value):
        bounds = "above 0" if most is None else f"from 1 to {most}"
        raise ValueError(f"{name} has to be a whole number {bounds}, not {value!r}")
    return value


def check_flag(value: object, name: str) -> bool:
    """Return a boolean. Raises TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} has to be True or False, not {value!r}")
    return value


def check_seconds(timeout: float | None) -> float | None:
    """Return a timeout. Raises ValueError unless it is above 0, or None."""
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout has to be above 0 seconds, or None, not {timeout!r}")
    return timeout
