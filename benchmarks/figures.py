"""Figures of several rounds, their middle and their spread, and the one place that prints. Rounds interleave."""

import argparse
import sys
from collections.abc import Sequence
from statistics import median
from typing import Self

from attrs import frozen


def say(text: str) -> None:
    """Print one line at once, so that a long benchmark shows how far it is."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def whole(text: str) -> int:
    """Read an option that is a whole number above 0. Raises what argparse expects."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"has to be 1 or more, not {value}")
    return value


@frozen
class Series:
    """The same figure from each round."""

    values: Sequence[float]

    @classmethod
    def ratio(cls, ours: Sequence[float], bare: Sequence[float]) -> Self:
        """Divide round by round: what disturbs the machine then disturbs both sides alike."""
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
