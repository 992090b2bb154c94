"""Finds the client for a vendor's name, and the handle for a run's reference."""

from collections.abc import Mapping

from .contract import RunClient, name_in
from .errors import BadReference
from .model import RunRef
from .polling import RunHandle
from .pool import SessionPool
from .providers import find_provider


class Clients:
    """The clients of one pool, by vendor and name of endpoint.

    Each is made from the environment when it is first needed, and kept.
    """

    def __init__(self, pool: SessionPool, environ: Mapping[str, str] | None = None) -> None:
        self._pool = pool
        self._environ = environ
        self._clients: dict[tuple[str, str], RunClient] = {}

    def named(self, vendor: str, name: str = "") -> RunClient:
        """Return the client of the vendor's endpoint `name`.

        Raises ValueError for an unknown vendor, or one that names missing settings.
        """
        client = self._clients.get((vendor, name))
        if client is None:
            client = find_provider(vendor).client.from_env(self._pool, self._environ, name=name)
            self._clients[vendor, name] = client
        return client

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return a handle for a run of any vendor and endpoint.

        Raises BadReference for what is no reference, or one of another endpoint than the settings of that name are
        for, and ValueError that names missing settings.
        """
        parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
        try:
            find_provider(parsed.vendor)
        except ValueError as exc:
            raise BadReference(f"{parsed}: {exc}", ref=parsed) from None
        return self.named(parsed.vendor, name_in(parsed)).attach(parsed)

    def __repr__(self) -> str:
        names = (f"{vendor}:{name}" if name else vendor for vendor, name in self._clients)
        return f"<Clients of {', '.join(names) or 'no vendor yet'}>"
