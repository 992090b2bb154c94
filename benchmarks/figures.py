"""Statistics of several rounds, and the only function that prints. The rounds of both sides alternate."""

import argparse
import sys
from collections.abc import Sequence
from statistics import median
from typing import Self

from attrs import frozen


def say(text: str) -> None:
    """Print one line and flush, so that a long benchmark shows its progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def whole(text: str) -> int:
    """Return the value of an option that is a whole number above 0. Raise the error that argparse expects."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"has to be 1 or more, not {value}")
    return value


@frozen
class Series:
    """One value from each round."""

    values: Sequence[float]

    @classmethod
    def ratio(cls, ours: Sequence[float], bare: Sequence[float]) -> Self:
        """Return the ratios round by round: what disturbs the machine disturbs both sides of a round."""
        return cls([one / other for one, other in zip(ours, bare, strict=True)])

    @property
    def middle(self) -> float:
        """Return the median."""
        return median(self.values)

    def show(self, unit: str = "", *, digits: int = 1) -> str:
        """Return `12.3 us (11.9 to 13.0)`."""
        low, high = min(self.values), max(self.values)
        end = f" {unit}" if unit else ""
        return f"{self.middle:,.{digits}f}{end} ({low:,.{digits}f} to {high:,.{digits}f})"
