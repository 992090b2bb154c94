"""Kore Agent Platform: base URLs, variables, and the headers that carry the keys. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from ...contract import check_base_url

VENDOR: Final = "agent-platform"
#: The details that references to an app's runs have, besides the session.
APP: Final = "app"
ENVIRONMENT: Final = "environment"
#: The header on the page of every endpoint; the introduction of the app's APIs has `Authorization` instead.
KEY_HEADER: Final = "x-api-key"
#: Paths of the app's APIs and the tools' APIs, appended to a base URL without a path.
APP_PATH: Final = "/api/v2"
TOOLS_PATH: Final = "/api/public"

VARIABLES: Final[Mapping[str, str]] = {
    "AGENT_PLATFORM_BASE_URL": f"base URL of the app's APIs; one without a path gets {APP_PATH}",
    "AGENT_PLATFORM_APP_ID": "id of the app, as its settings show it",
    "AGENT_PLATFORM_ENVIRONMENT": "name of the app's environment, exactly as configured",
    "AGENT_PLATFORM_APP_KEY": "API key of the app",
    "AGENT_PLATFORM_TOOLS_URL": f"base URL of the tools' APIs; the app's host and {TOOLS_PATH} when unset",
    "AGENT_PLATFORM_TOOLS_KEY": "API key of the account's API scopes, for tools, models, files and connections",
    "AGENT_PLATFORM_KEY_HEADER": f"header that carries the app's key, in place of {KEY_HEADER}",
    "AGENT_PLATFORM_KEY_PREFIX": "prefix of the app's key in that header, like Bearer",
}
REQUIRED: Final = (
    "AGENT_PLATFORM_BASE_URL",
    "AGENT_PLATFORM_APP_ID",
    "AGENT_PLATFORM_ENVIRONMENT",
    "AGENT_PLATFORM_APP_KEY",
)


def app_base(url: str, *, allow_insecure: bool = False) -> str:
    """Return the base URL of the app's APIs. Raises ValueError for an invalid one."""
    return _with_path(check_base_url(url, "base_url", allow_insecure=allow_insecure), APP_PATH)


def tools_base(url: str | None, app_url: str, *, allow_insecure: bool = False) -> str:
    """Return the base URL of the tools' APIs, by default on the host of `app_url`. Raises ValueError."""
    if url is None:
        return origin_of(app_url) + TOOLS_PATH
    return _with_path(check_base_url(url, "tools_url", allow_insecure=allow_insecure), TOOLS_PATH)


def origin_of(url: str) -> str:
    """Return scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _with_path(url: str, path: str) -> str:
    return url if urlsplit(url).path else url + path
