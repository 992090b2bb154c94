"""Creation of apps, the only call whose errors the vendor documents."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ....contract.fake import Call, Endpoint, JsonObject, Refused, read_object
from ....model import Purpose, Reply
from .rules import APP_ERRORS
from .state import ServerState

_NAME: Final = re.compile(r"[\w .-]+")
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
_LOGOS: Final = tuple(f"logo{number}" for number in range(1, 11))
_CODES: Final[Mapping[int, str]] = {400: "VALIDATION_ERROR", 401: "UNAUTHORIZED"}
_MESSAGES: Final[Mapping[int, str]] = {
    401: "The key is not valid.",
    403: "You may not do this.",
    409: "The name is already used.",
    500: "Something went wrong.",
    503: "The platform is being serviced.",
}


class AppRefused(Refused):
    """Raised when the creation of an app is refused with one of the vendor's codes."""

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        super().__init__(status, message)
        self.code = code
        self.details = details


class AppHandlers:
    """Creates apps. The caller has an account's key, and names the account and a user in headers."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._names: set[str] = set()

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoint."""
        yield "POST", "/api/public/apps/createApp", "apps.create", Purpose.START, self._create

    def refusal(self, refused: Refused, now: float) -> Reply:
        """Return the reply for a refusal, in this endpoint's own form."""
        error: dict[str, Any] = {
            "code": _CODES.get(refused.status, "VALIDATION_ERROR"),
            "message": str(refused),
        }
        if isinstance(refused, AppRefused):
            error["code"] = refused.code
            if refused.details:
                error["details"] = refused.details
        return self._server.reply({"success": False, "error": error, "meta": self._meta(now)}, refused.status)

    def _create(self, call: Call) -> Reply:
        for header in ("accountid", "userid"):
            if not call.header(header):
                raise AppRefused(400, "VALIDATION_ERROR", "A header is missing.", header=header)
        body = read_object(call)
        name, description = body.require("name", str), body.require("description", str)
        if name in APP_ERRORS:
            status, code = APP_ERRORS[name]
            raise AppRefused(status, code, _MESSAGES[status])
        if not _NAME.fullmatch(name):
            raise AppRefused(400, "INVALID_NAME_FORMAT", "The name has special characters.", field="name")
        icon = self._icon(body)
        if name in self._names:
            raise AppRefused(409, "RESOURCE_CONFLICT", _MESSAGES[409])
        self._names.add(name)
        self._server.counts["apps"] += 1
        data = {
            "appId": self._server.new_id("aa-"),
            "name": name,
            "description": description,
            "appIcon": icon,
            "status": "IN_DEVELOPMENT",
            "type": "Agentic",
            "accountId": call.header("accountid"),
            "createdBy": {"id": call.header("userid"), "emailId": "owner@example.com"},
            "createdAt": self._server.format_date(call.now),
        }
        return self._server.reply({"success": True, "data": data, "meta": self._meta(call.now)}, 201)

    def _icon(self, body: JsonObject) -> Mapping[str, Any]:
        icon = body.get("appIcon", dict)
        if icon is None:
            logo = self._server.random_for(f"logo {len(self._names)}").choice(_LOGOS)
            return {"name": logo, "type": "logo", "color": "#B2CCFF"}
        name, kind, color = (icon.get(each) for each in ("name", "type", "color"))
        if name not in _LOGOS or kind != "logo" or not _COLOR.fullmatch(str(color)):
            raise AppRefused(400, "INVALID_APP_ICON", "The icon is unknown.", field="appIcon")
        return {"name": name, "type": kind, "color": color}

    def _meta(self, now: float) -> Mapping[str, Any]:
        return {"requestId": f"req_{self._server.new_hex(12)}", "timestamp": self._server.format_date(now)}
