"""Kore Agent Platform: creation of apps."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from ...codec import member
from ...contract import check_header_value, check_text
from .calls import Calls
from .wire import KORE, check_word, request

_ADVICE: Final = (
    "Search the workspace's apps for the name: names are unique, so there cannot be a second app."
)
_LOGOS: Final = tuple(f"logo{number}" for number in range(1, 11))
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}")


@frozen
class AppIcon:
    """The icon of an app: one of the platform's logos, `logo1` to `logo10`, and a color like `#B2CCFF`.

    Raises ValueError for other values. Agent Platform API, section 6.9.
    """

    name: str
    color: str

    def __attrs_post_init__(self) -> None:
        check_word(self.name, _LOGOS, "icon: the name")
        if not isinstance(self.color, str) or not _COLOR.fullmatch(self.color):
            raise ValueError(f"icon: the color has to be like #B2CCFF, not {self.color!r}")


@frozen(kw_only=True)
class App:
    """An app as it was created. Its API keys are created in its settings."""

    app_id: str = member("data.appId")
    name: str = member("data.name", default="")
    description: str = member("data.description", default="")
    status: str = member("data.status", default="")
    type: str = member("data.type", default="")
    account_id: str = member("data.accountId", default="")
    icon_name: str = member("data.appIcon.name", default="")
    icon_color: str = member("data.appIcon.color", default="")
    created_by: str = member("data.createdBy.id", default="")
    created_at: datetime | None = member("data.createdAt", default=None)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


class Apps:
    """The apps of a workspace, available as `AgentPlatform.apps`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self, name: str, description: str, icon: AppIcon | None = None, *, account_id: str, user_id: str
    ) -> App:
        """Create an app for a user of an account; without an icon the platform chooses one at random.

        The request is sent once. Errors carry the vendor's own `code`: `BadRequest` has `VALIDATION_ERROR`,
        `INVALID_NAME_FORMAT` or `INVALID_APP_ICON` (for which the vendor does not document whether the app was
        created all the same); `AuthenticationError` has `UNAUTHORIZED`, `API_KEY_EXPIRED` or `API_KEY_REVOKED`;
        `PermissionDenied` has `INSUFFICIENT_SCOPE`, `ACCOUNT_ACCESS_DENIED` or `USER_PERMISSION_DENIED`; `Conflict`
        has `RESOURCE_CONFLICT`, for a name that is in use. Raises `StartUnknown` if the app may have been created,
        also after `INTERNAL_ERROR` and `SERVICE_UNAVAILABLE`, which are then its cause. Agent Platform API, section
        6.9.
        """
        body = {
            "name": check_text(name, "name"),
            "description": check_text(description, "description"),
            "appIcon": None if icon is None else {"type": "logo", **KORE.write(icon)},
        }
        headers = {
            "accountid": check_header_value(check_text(account_id, "account_id"), "account_id"),
            "userid": check_header_value(check_text(user_id, "user_id"), "user_id"),
        }
        creation = request(f"{self._calls.url}/apps/createApp", "apps.create", body, headers=headers)
        return await self._calls.create(
            creation, KORE.reader(App), target=name, advice=_ADVICE, action="created an app"
        )
