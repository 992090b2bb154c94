"""Creation of apps: the request, the answer, and each of the vendor's error codes."""

import re
from typing import Any

import pytest

from aioagents import (
    AuthenticationError,
    BadRequest,
    Conflict,
    PermissionDenied,
    ReplyError,
    ReplyLost,
    ServerError,
    StartUnknown,
)
from aioagents.model import Purpose, Reply
from aioagents.observe import RunStarted
from aioagents.providers.agent_platform import AppIcon
from aioagents.providers.agent_platform.fake import APP_ERRORS
from tests.polling.rig import reply
from tests.providers.agent_platform.platform_rig import TOOLS_URL, platform_rig, sample

_WHO: dict[str, Any] = {"account_id": "acc-1", "user_id": "u-1"}


async def test_app() -> None:
    """An app is created for a user with the account's key, and returned as the platform describes it."""
    async with platform_rig() as r:
        app = await r.platform.apps.create("Calendar", "Keeps dates.", AppIcon("logo5", "#B2ccFF"), **_WHO)
        assert (r.last.method, r.last.url, r.last.purpose) == (
            "POST",
            f"{TOOLS_URL}/apps/createApp",
            Purpose.START,
        )
        headers = {
            name: r.last.headers[name] for name in ("x-api-key", "accountid", "userid", "content-type")
        }
        assert headers == {
            "x-api-key": "demo-tools-key",
            "accountid": "acc-1",
            "userid": "u-1",
            "content-type": "application/json",
        }
        assert r.body == {
            "name": "Calendar",
            "description": "Keeps dates.",
            "appIcon": {"name": "logo5", "type": "logo", "color": "#B2ccFF"},
        }
        assert (app.name, app.status, app.account_id, app.created_by) == (
            "Calendar",
            "IN_DEVELOPMENT",
            "acc-1",
            "u-1",
        )
        assert (app.icon_name, app.icon_color) == ("logo5", "#B2ccFF")
        assert app.app_id.startswith("aa-")
        assert app.raw["meta"]["requestId"]
        assert "owner@example.com" not in repr(app)
        plain = await r.platform.apps.create("Tasks", "d", **_WHO)
        assert "appIcon" not in r.body
        assert plain.icon_name.startswith("logo")
        assert r.events_of(RunStarted) == []


_KINDS = {400: BadRequest, 401: AuthenticationError, 403: PermissionDenied, 409: Conflict}


@pytest.mark.parametrize("name", APP_ERRORS)
async def test_codes(name: str) -> None:
    """Each of the vendor's codes is an attribute of the right error; after a server error the outcome is unknown."""
    status, code = APP_ERRORS[name]
    async with platform_rig() as r:
        kind: type[Exception] = _KINDS.get(status, StartUnknown)
        with pytest.raises(kind) as caught:
            await r.platform.apps.create(name, "d", **_WHO)
        error = caught.value if isinstance(caught.value, ReplyError) else caught.value.__cause__
        assert isinstance(error, ReplyError)
        assert (error.code, error.status) == (code, status)
        assert isinstance(error, _KINDS.get(status, ServerError))
        assert len(r.send.sent) == 1


async def test_codes_that_depend_on_the_request() -> None:
    """A name with special characters, a name in use and a wrong key have codes of their own."""
    async with platform_rig() as r:
        with pytest.raises(BadRequest) as odd:
            await r.platform.apps.create("Cal/endar", "d", **_WHO)
        assert odd.value.code == "INVALID_NAME_FORMAT"
        await r.platform.apps.create("Calendar", "d", **_WHO)
        with pytest.raises(Conflict) as taken:
            await r.platform.apps.create("Calendar", "d", **_WHO)
        assert (taken.value.code, taken.value.detail) == ("RESOURCE_CONFLICT", "The name is already used.")
        r.answer("apps.create", sample("apps_create/409-conflict"))
        with pytest.raises(Conflict) as sampled:
            await r.platform.apps.create("Calendar", "d", **_WHO)
        assert (sampled.value.code, sampled.value.request_id) == ("RESOURCE_CONFLICT", "req_1")
    async with platform_rig(settings={"tools_key": "demo-wrong"}) as r:
        with pytest.raises(AuthenticationError) as wrong:
            await r.platform.apps.create("Calendar", "d", **_WHO)
        assert wrong.value.code == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "fault",
    [ReplyLost("lost"), Reply(500), Reply(503), reply(201, b"{}"), reply(201, b'{"data": []}')],
    ids=str,
)
async def test_app_whose_answer_is_lost(fault: Any) -> None:
    """After a lost answer of any kind, no second app is created."""
    async with platform_rig() as r:
        r.answer("apps.create", fault)
        with pytest.raises(StartUnknown, match="created an app") as caught:
            await r.platform.apps.create("Calendar", "d", **_WHO)
        assert (len(r.send.sent), caught.value.target) == (1, "Calendar")
        assert "names are unique" in caught.value.advice


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("logo0", "#B2CCFF"),
        ("logo11", "#B2CCFF"),
        ("", "#B2CCFF"),
        ("logo1", "B2CCFF"),
        ("logo1", "#B2CCF"),
        ("logo1", "#G2CCFF"),
        ("logo1", None),
    ],
)
def test_invalid_icons(name: Any, color: Any) -> None:
    """An icon that the platform would refuse raises when it is constructed."""
    with pytest.raises(ValueError, match="icon"):
        AppIcon(name, color)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name"),
        ({"description": " "}, "description"),
        ({"account_id": ""}, "account_id"),
        ({"user_id": "u\r\nx: 1"}, "user_id"),
        ({"user_id": "ü"}, "user_id"),
    ],
)
async def test_apps_that_cannot_be_sent(changes: dict[str, Any], message: str) -> None:
    """Invalid arguments are refused by name before anything is sent."""
    async with platform_rig() as r:
        given = {"name": "Calendar", "description": "d", **_WHO, **changes}
        with pytest.raises(ValueError, match=re.escape(message)):
            await r.platform.apps.create(**given)
        assert r.send.sent == []
