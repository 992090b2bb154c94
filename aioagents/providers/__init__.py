"""The vendors, one folder each. A new folder is found here without a change to any other file."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from ..contract import Provider


@cache
def all_providers() -> Mapping[str, Provider]:
    """Return all vendors by their names, sorted by name."""
    folders = sorted(each.name for each in iter_modules(__path__) if each.ispkg)
    found = [import_module(f"{__name__}.{folder}").PROVIDER for folder in folders]
    return MappingProxyType({provider.name: provider for provider in found})


def find_provider(name: str) -> Provider:
    """Return a vendor by its name as in run references. Raises ValueError that lists the names."""
    providers = all_providers()
    if name not in providers:
        raise ValueError(f"no vendor is called {name!r}; there are: {', '.join(providers)}")
    return providers[name]
