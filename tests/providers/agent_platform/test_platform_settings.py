"""Base URLs of Agent Platform, and the headers that carry its keys."""

from typing import Any

import pytest

from aioagents import AgentPlatform, Secret, SessionPool
from aioagents.providers.agent_platform import PROVIDER
from aioagents.providers.agent_platform.settings import REQUIRED, VARIABLES, app_base, tools_base
from tests.providers.agent_platform.platform_rig import SETTINGS


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://kore.example.com", "https://kore.example.com/api/v2"),
        ("https://kore.example.com/", "https://kore.example.com/api/v2"),
        ("https://kore.example.com/api/v2/", "https://kore.example.com/api/v2"),
        ("https://gate.example.com/kore", "https://gate.example.com/kore"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v2"),
    ],
)
def test_base_of_the_app(given: str, read: str) -> None:
    """A host alone gets the documented path; a given path is kept."""
    assert app_base(given) == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, "https://kore.example.com:444/api/public"),
        ("https://tools.example.ai", "https://tools.example.ai/api/public"),
        ("https://tools.example.ai/x/", "https://tools.example.ai/x"),
    ],
)
def test_base_of_the_tools(given: str | None, read: str) -> None:
    """The tools' APIs are on the app's host by default; a given host gets the documented path."""
    assert tools_base(given, "https://kore.example.com:444/gate/api/v2") == read


@pytest.mark.parametrize("name", ["base_url", "tools_url"])
@pytest.mark.parametrize(
    "url", ["http://kore.example.com", "kore.example.com", "https://u:p@h", "https://h?x=1"]
)
async def test_invalid_urls(name: str, url: str) -> None:
    """A URL that would send a key in clear text, or is no base URL, is refused by the name of its setting."""
    async with SessionPool() as pool:
        with pytest.raises(ValueError, match=name) as caught:
            AgentPlatform(pool, **{**SETTINGS, name: url})
        assert "demo-" not in str(caught.value)


async def test_allow_insecure() -> None:
    """With `allow_insecure`, http works with any host."""
    async with SessionPool() as pool:
        settings = {**SETTINGS, "base_url": "http://kore.lan", "tools_url": "http://tools.lan"}
        client = AgentPlatform(pool, allow_insecure=True, **settings)
        assert repr(client) == "<AgentPlatform at http://kore.lan/api/v2/apps/aa-demo/environments/draft>"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"app_key": ""}, "app_key"),
        ({"app_key": "demo-\n"}, "app_key"),
        ({"app_key": "demo-\xe4"}, "app_key"),
        ({"app_key": " demo-"}, "app_key"),
        ({"tools_key": ""}, "tools_key"),
        ({"tools_key": Secret("demo-\r\nX: 1")}, "tools_key"),
        ({"key_header": ""}, "key_header"),
        ({"key_header": "X Key"}, "key_header"),
        ({"key_header": "Content-Type"}, "key_header"),
        ({"key_header": "host"}, "key_header"),
        ({"key_header": 7}, "key_header"),
        ({"key_prefix": "Bearer\n x"}, "key_prefix"),
        ({"app_id": ""}, "app_id"),
        ({"app_id": ".."}, "app_id"),
        ({"environment": " "}, "environment"),
    ],
)
async def test_settings_that_cannot_be_sent(options: dict[str, Any], name: str) -> None:
    """A setting that no header or path can carry is refused by its name, without its value."""
    async with SessionPool() as pool:
        with pytest.raises(ValueError, match=name) as caught:
            AgentPlatform(pool, **{**SETTINGS, **options})
        assert "demo-" not in str(caught.value)


async def test_settings_from_the_environment() -> None:
    """All eight variables are read; four are required, and the error names the missing ones."""
    given = {
        "AGENT_PLATFORM_BASE_URL": "https://kore.example.com",
        "AGENT_PLATFORM_APP_ID": "aa/1",
        "AGENT_PLATFORM_ENVIRONMENT": "my env",
        "AGENT_PLATFORM_APP_KEY": "demo-app-key",
        "AGENT_PLATFORM_TOOLS_URL": "https://tools.example.ai",
        "AGENT_PLATFORM_TOOLS_KEY": "demo-tools-key",
        "AGENT_PLATFORM_KEY_HEADER": "Authorization",
        "AGENT_PLATFORM_KEY_PREFIX": "Bearer",
    }
    assert set(given) == set(VARIABLES) == set(PROVIDER.variables)
    async with SessionPool() as pool:
        client = AgentPlatform.from_env(pool, given)
        assert (
            repr(client)
            == "<AgentPlatform at https://kore.example.com/api/v2/apps/aa%2F1/environments/my%20env>"
        )
        assert client.pool is pool
        AgentPlatform.from_env(pool, {name: given[name] for name in REQUIRED})
        with pytest.raises(ValueError, match="AGENT_PLATFORM_APP_ID, AGENT_PLATFORM_APP_KEY"):
            AgentPlatform.from_env(
                pool, {name: given[name] for name in REQUIRED if not name.startswith("AGENT_PLATFORM_APP")}
            )


async def test_accounts_are_shared_by_key() -> None:
    """Clients with the same key and URL share their limits; other keys, URLs and headers do not."""
    async with SessionPool() as pool:
        for _ in range(2):
            AgentPlatform(pool, **SETTINGS)
        assert len(pool.statistics().accounts) == 2
        AgentPlatform(pool, **{**SETTINGS, "environment": "live"})
        assert len(pool.statistics().accounts) == 2
        AgentPlatform(pool, **{**SETTINGS, "app_key": "demo-other"})
        assert len(pool.statistics().accounts) == 3
        assert not any("demo" in name for name in pool.statistics().accounts)
