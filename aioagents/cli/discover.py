"""Finds what vendors add to the command line, in the module `cli` of their folders.

Such a module may have `RUN`, `CHAT` and `REPORT`, commands named after the vendor with options of its own, `GROUP`, a
group of more commands named after the vendor, and `endpoints(environ)`, which returns the base URLs of its settings
by their purpose. It is imported by the command line alone.
"""

from collections.abc import Callable, Iterator, Mapping

import click

from ..providers import find_parts

Endpoints = Callable[[Mapping[str, str] | None], Mapping[str, str]]


def find_commands(name: str) -> Iterator[click.Command]:
    """Return the command that each vendor's module defines as `name`, in the order of vendors."""
    for module in find_parts("cli").values():
        command = getattr(module, name, None)
        if command is not None:
            yield command


def find_endpoints(vendor: str) -> Endpoints | None:
    """Return the function that returns a vendor's base URLs, None if there is none."""
    found: Endpoints | None = getattr(find_parts("cli").get(vendor), "endpoints", None)
    return found
