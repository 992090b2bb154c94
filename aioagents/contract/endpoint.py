"""The endpoint of a client, and how references name it. Pure.

A reference's scope is `[name@]address[;detail]...`: the endpoint's name, if it has one; the host with its port and
base path, or what a vendor has instead, such as a region; and what the vendor needs besides to read the run, as words
or `key=value`. No digest of a key is in it: keys are replaced while runs last.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Final, Self
from urllib.parse import urlsplit

from attrs import field, frozen

from ..auth import check_endpoint_name
from ..errors import BadReference
from ..model import RunRef

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_PORTS: Final = {"https": 443, "http": 80}


def _checked(name: str) -> str:
    return check_endpoint_name(name)


@frozen
class Endpoint:
    """One endpoint of a vendor: its address, and its name where there are several.

    `details` are the same in all references to its runs; the value of a word is empty. Raises ValueError for a name
    that is none.
    """

    vendor: str
    address: str
    name: str = field(default="", converter=_checked)
    details: Mapping[str, str] = _NONE

    @classmethod
    def at(
        cls, vendor: str, base_url: str, name: str = "", *, path: str = "", details: Mapping[str, str] = _NONE
    ) -> Self:
        """Return the endpoint at a checked base URL, whose usual `path` is left out of the address."""
        return cls(vendor, address_of(base_url, path), name, details)

    @cached_property
    def scope(self) -> str:
        """Return the scope of references without further details."""
        return self.scope_with(_NONE)

    def scope_with(self, details: Mapping[str, str]) -> str:
        """Return the scope of references with these details after the endpoint's own."""
        name = f"{self.name}@" if self.name else ""
        pairs = (*self.details.items(), *details.items())
        return ";".join([name + self.address, *(_detail(key, value) for key, value in pairs)])

    def ref(self, run_id: str, details: Mapping[str, str] = _NONE) -> RunRef:
        """Return the reference of a run."""
        return RunRef(self.vendor, self.scope_with(details) if details else self.scope, run_id)

    def read(self, ref: RunRef | str) -> tuple[str, dict[str, str]]:
        """Return the id and the further details of a run of this endpoint.

        Raises BadReference, which names this endpoint, for what is no reference or one of another endpoint.
        """
        parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
        found = details_in(parsed.scope)
        fixed = {key: found.pop(key, None) for key in self.details}
        is_own = parsed.vendor == self.vendor and fixed == self.details
        if is_own and parsed.scope.partition(";")[0] == self.scope.partition(";")[0]:
            return parsed.id, found
        if parsed.vendor == self.vendor and not parsed.scope:
            message = f"{parsed} is not a whole reference: the form is {self.ref(parsed.id)}"
        else:
            message = f"{parsed} is not a run of {self}"
        raise BadReference(message, vendor=self.vendor, ref=parsed)

    def __str__(self) -> str:
        return str(self.ref("")).removesuffix("/")


def address_of(base_url: str, path: str = "") -> str:
    """Return host, port and path of a checked base URL, without the port of its scheme and the usual `path`."""
    parts = urlsplit(base_url)
    host = parts.netloc.removesuffix(f":{_PORTS.get(parts.scheme)}")
    return host if parts.path == path else host + parts.path.replace("@", "%40").replace(";", "%3B")


def check_ref(ref: RunRef | str, endpoint: Endpoint) -> RunRef:
    """Return `ref` parsed. Raises BadReference unless it names a run of this endpoint, with no further details."""
    run_id, details = endpoint.read(ref)
    if details:
        raise BadReference(
            f"{ref} is not a run of {endpoint}: {', '.join(details)} is unknown", vendor=endpoint.vendor
        )
    return endpoint.ref(run_id)


def details_in(scope: str) -> dict[str, str]:
    """Return the details in a scope; the value of a word is empty."""
    pairs = (part.partition("=") for part in scope.split(";")[1:])
    return {key: value.replace("%3B", ";").replace("%25", "%") for key, _, value in pairs}


def endpoint_of(ref: RunRef) -> str:
    """Return the part of a reference's scope that is the same for all runs of an endpoint: `billing@host`."""
    return ref.scope.partition(";")[0]


def name_in(ref: RunRef) -> str:
    """Return the name of the endpoint in a reference, empty if it has none."""
    name, at, _ = endpoint_of(ref).partition("@")
    with suppress(ValueError):
        return check_endpoint_name(name) if at else ""
    return ""


def _detail(key: str, value: str) -> str:
    return f"{key}={value.replace('%', '%25').replace(';', '%3B')}" if value else key
