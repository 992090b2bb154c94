"""Handlers of the endpoints of jobs or triggers: list, create, get, change and delete. Pure."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Generic

from ....contract.fake import Call, Endpoint, read_json
from ....model import Purpose, Reply
from .catalogue import Catalogue, D
from .state import ServerState


class DefinitionHandlers(Generic[D]):
    """Answers requests for the definitions of one kind, which `to_body` writes."""

    def __init__(
        self, state: ServerState, catalogue: Catalogue[D], to_body: Callable[[D], Mapping[str, Any]]
    ) -> None:
        self._state = state
        self._catalogue = catalogue
        self._to_body = to_body

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoints."""
        name = f"{self._catalogue.kind}s"
        path = f"/api/automation/{name}"
        yield "GET", path, f"{name}.list", Purpose.CALL, self._list
        yield "POST", path, f"{name}.create", Purpose.START, self._create
        yield "GET", f"{path}/{{id}}", f"{name}.get", Purpose.CALL, self._get
        yield "PATCH", f"{path}/{{id}}", f"{name}.update", Purpose.CALL, self._change
        yield "DELETE", f"{path}/{{id}}", f"{name}.delete", Purpose.CALL, self._delete

    def _list(self, call: Call) -> Reply:
        found = self._catalogue.listed(call.query)
        return self._state.reply({f"{self._catalogue.kind}s": [self._to_body(each) for each in found]})

    def _create(self, call: Call) -> Reply:
        return self._reply(self._catalogue.create(read_json(call)), HTTPStatus.CREATED)

    def _get(self, call: Call) -> Reply:
        return self._reply(self._catalogue.get(item_id(call)))

    def _change(self, call: Call) -> Reply:
        return self._reply(self._catalogue.change(item_id(call), read_json(call)))

    def _delete(self, call: Call) -> Reply:
        self._catalogue.delete(item_id(call))
        return self._state.empty()

    def _reply(self, definition: D, status: int = 200) -> Reply:
        return self._state.reply({self._catalogue.kind: self._to_body(definition)}, status)


def item_id(call: Call) -> str:
    """Return the id in the path."""
    return call.path["id"].strip()
