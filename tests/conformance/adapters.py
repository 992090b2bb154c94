"""The adapters of all vendors, by their names. A new vendor's is found here without a change to this file."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from aioagents.providers import all_providers
from tests.conformance.adapter import Adapter


def _find() -> Iterator[Adapter]:
    for name in all_providers():
        folder = name.replace("-", "_")
        adapter: Adapter = import_module(f"tests.providers.{folder}.{folder}_adapter").ADAPTER
        yield adapter


ADAPTERS: Final[Mapping[str, Adapter]] = {each.name: each for each in _find()}
