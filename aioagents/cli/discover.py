"""Finds the commands that vendors' modules add to the command line."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import click

from . import vendors

Endpoints = Callable[[Mapping[str, str] | None], Mapping[str, str]]


def find_commands(name: str) -> Iterator[click.Command]:
    """Return the command that each vendor's module defines as `name`, in the order of vendors."""
    for vendor in sorted(_modules()):
        command = getattr(_load(vendor), name, None)
        if command is not None:
            yield command


def find_endpoints(vendor: str) -> Endpoints | None:
    """Return the function that returns a vendor's base URLs, None if its module has none."""
    module = vendor.replace("-", "_")
    found: Endpoints | None = getattr(_load(module), "endpoints", None) if module in _modules() else None
    return found


def _modules() -> set[str]:
    return {found.name for found in iter_modules(vendors.__path__)}


def _load(vendor: str) -> Any:
    return import_module(f"{vendors.__name__}.{vendor}")
