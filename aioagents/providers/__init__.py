"""The vendors, one folder each. A new folder is found here without a change to any other file.

A vendor has the name of its folder, with hyphens for underscores. Of the classes in its `__all__`, those whose names
begin so (`AgentPlatform`, `LeenaCredentials`; in any case, as `OpenAI`) are at the top of `aioagents` too. Thus the
folder of a vendor or of such a class is known without importing any.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import MappingProxyType, ModuleType
from typing import Any

from ..contract import Provider


@cache
def _folders() -> Mapping[str, str]:
    """Return the modules of all vendors by their names, sorted by name. Imports none of them."""
    folders = sorted(each.name for each in iter_modules(__path__) if each.ispkg)
    return {folder.replace("_", "-"): f"{__name__}.{folder}" for folder in folders}


def all_providers() -> Mapping[str, Provider]:
    """Return all vendors by their names, sorted by name. The first call imports all of them."""
    return MappingProxyType({name: find_provider(name) for name in _folders()})


def find_provider(name: str) -> Provider:
    """Return a vendor by its name as in run references, and import no other.

    Raise ValueError that lists the names.
    """
    folders = _folders()
    if name not in folders:
        raise ValueError(f"no vendor is called {name!r}; there are: {', '.join(folders)}")
    provider: Provider = import_module(folders[name]).PROVIDER
    return provider


def find_parts(part: str) -> Mapping[str, ModuleType]:
    """Import the module `part` of each vendor that has one (`fake`, `cli`), and return them by the vendors' names."""
    modules = {name: f"{folder}.{part}" for name, folder in _folders().items()}
    return {name: import_module(module) for name, module in modules.items() if find_spec(module) is not None}


def find_public(name: str) -> Any:
    """Return the class that is at the top of `aioagents` by this name. Raise LookupError if no vendor has it.

    Imports a vendor only if the name begins as the vendor's.
    """
    for vendor, folder in _folders().items():
        if _is_public(name, vendor) and name in _names(folder):
            return getattr(import_module(folder), name)
    raise LookupError(name)


def public_names() -> list[str]:
    """Return the names of all vendors' classes at the top of `aioagents`. The first call imports all vendors."""
    folders = _folders().items()
    return [name for vendor, folder in folders for name in _names(folder) if _is_public(name, vendor)]


def _names(folder: str) -> list[str]:
    names: list[str] = import_module(folder).__all__
    return names


def _is_public(name: str, vendor: str) -> bool:
    return name[0].isupper() and name.lower().startswith(vendor.replace("-", ""))
