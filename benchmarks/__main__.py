"""Runs one benchmark by its name, or lists them."""

import argparse
import sys
from importlib import import_module
from typing import Final, Protocol

from .figures import say


class Benchmark(Protocol):
    """A module of this package; the first line of its docstring says what it measures."""

    __doc__: str | None

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        ...

    def run(self, options: argparse.Namespace) -> None:
        """Measure both sides and print the results; the last line has the ratio."""
        ...


NAMES: Final = (
    "batch",
    "cadence",
    "damage",
    "imports",
    "journal",
    "kills",
    "overhead",
    "polling",
    "report",
    "stampede",
    "start",
    "starts",
    "tls",
    "waiting",
    "worlds",
)


def _find(name: str) -> Benchmark:
    return import_module(f"{__package__}.{name}")


def _summary(name: str) -> str:
    return (_find(name).__doc__ or "").partition("\n")[0]


def main(arguments: list[str]) -> int:
    """Run the benchmark and return the exit code: 2 for an unknown name; a missed aim is not a failure."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        say("python -m benchmarks NAME [options]; NAME --help lists the options.")
        for name in NAMES:
            say(f"  {name:<10}{_summary(name)}")
        return 0
    name, *rest = arguments
    if name not in NAMES:
        say(f"no benchmark is called {name!r}; there are {', '.join(NAMES)}")
        return 2
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {name}", description=_summary(name))
    benchmark = _find(name)
    benchmark.configure(parser)
    benchmark.run(parser.parse_args(rest))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
