"""Kore Agent Platform: connections to other companies' models, checked, written and read. Pure.

The fields of each provider are those of the table in Agent Platform API, section 9.5.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from ... import codec
from ...codec import member
from ...contract import check_text
from ...model import Secret
from .checks import check_word

#: The members of `fields`. They may hold secrets, which are sent and shown nowhere.
FieldValues: TypeAlias = Mapping[str, str | Secret]


class ModelProvider(StrEnum):
    """The company whose models a connection is for. `API` is any other, or one's own."""

    OPEN_AI = "Open AI"
    ANTHROPIC = "Anthropic"
    AZURE_OPEN_AI = "Azure Open AI"
    API = "API"


_EASY: Final = "EASY_INTEGRATION"
_FIELDS: Final[Mapping[ModelProvider, tuple[str, ...]]] = {
    ModelProvider.OPEN_AI: ("API_KEY",),
    ModelProvider.ANTHROPIC: ("API_KEY",),
    ModelProvider.AZURE_OPEN_AI: ("API_KEY", "api_version", "your_resource_name", "deployment_id"),
    ModelProvider.API: ("BASE_URL", "API_KEY", "MODEL_NAME"),
}
_TYPED: Final = frozenset({ModelProvider.ANTHROPIC, ModelProvider.AZURE_OPEN_AI})
#: The members that errors may show: any other one may hold a secret.
_SHOWN: Final = ("provider", "connectionName", "model", "modelType")


@frozen(kw_only=True)
class Connection:
    """A connection to a model. Secrets in `fields` are masked by asterisks; lists leave `fields` out."""

    connection_id: str
    name: str = member("connectionName", default="")
    provider: str = ""
    model: str = ""
    status: str = ""
    fields: Mapping[str, Any] = field(factory=dict, repr=False)
    created_at: datetime | None = member("createdOn", default=None)
    modified_at: datetime | None = member("modifiedOn", default=None)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


def creation_body(
    provider: str,
    name: str,
    *,
    model: str | None,
    model_type: str | None,
    fields: FieldValues | None,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the body that creates a connection of a provider. Raises ValueError, which names the member."""
    known = ModelProvider(check_word(provider, ModelProvider, "provider"))
    body: dict[str, Any] = {"provider": known.value, "connectionName": check_text(name, "name")}
    if model is not None or known is not ModelProvider.API:
        body["model"] = check_text(model or "", "model")
    if model_type is not None or known in _TYPED:
        body["modelType"] = check_text(_EASY if model_type is None else model_type, "model_type")
    if settings is not None:
        if known is not ModelProvider.API:
            raise ValueError(f"settings: belong to the provider API alone, not to {known}")
        codec.encode_object(settings, "settings")
        for taken in body.keys() & settings.keys():
            raise ValueError(f"settings.{taken}: has an argument of its own")
        body |= settings
    if fields is not None or settings is None:
        body["fields"] = field_values(fields or {}, _FIELDS[known])
    return body


def field_values(fields: FieldValues, needed: tuple[str, ...] = ("API_KEY",)) -> dict[str, str]:
    """Return the member `fields`, secrets included. Raises ValueError or TypeError, which names the member."""
    if not isinstance(fields, Mapping):
        raise TypeError(f"fields: expected a mapping, not {type(fields).__name__}")
    for name in needed:
        if not fields.get(name):
            raise ValueError(f"fields.{name}: has to be there, and not empty")
    written = {}
    for name, value in fields.items():
        if not isinstance(value, str | Secret):  # not quoted: it may be a secret
            raise TypeError(f"fields.{name}: expected a string or a Secret, not {type(value).__name__}")
        written[name] = value.reveal() if isinstance(value, Secret) else value
    return written


def shown(body: Mapping[str, Any]) -> bytes:
    """Return the part of a body that errors may carry, as JSON."""
    return codec.encode_json({name: body[name] for name in _SHOWN if name in body})
