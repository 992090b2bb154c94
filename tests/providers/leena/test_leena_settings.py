"""Credentials, regions and hosts of Leena AI."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Leena, LeenaCredentials, LeenaEndpoints, Secret, SessionPool
from aioagents.providers.leena import PROVIDER
from tests.fakes import FakeClock, FakeSend

_CREDENTIALS = LeenaCredentials(client_id="c", client_secret="s3cr3t", username="u", password="p4ss")
_ENVIRON = {
    "LEENA_CLIENT_ID": "c",
    "LEENA_CLIENT_SECRET": "s3cr3t",
    "LEENA_USERNAME": "u",
    "LEENA_PASSWORD": "p4ss",
}


@pytest.mark.parametrize(
    ("region", "prefix"),
    [
        (None, ""),
        ("ap-south-1", ""),
        ("AP-SOUTH-1", ""),
        ("us-east-1", "us-east-1-"),
        ("US-East-1", "us-east-1-"),
        ("canadacentral", "canadacentral-"),
        ("me-central2", "me-central2-"),
        ("sandbox", "sandbox-"),
        ("x", "x-"),
        ("1", "1-"),
    ],
)
def test_hosts_of_a_region(region: str | None, prefix: str) -> None:
    """A region is the prefix of all three hosts; the primary one has none, and no hyphen either."""
    assert LeenaEndpoints.for_region(region) == LeenaEndpoints(
        token=f"https://{prefix}acl.leena.ai",
        aop=f"https://{prefix}aic.leena.ai",
        report=f"https://{prefix}analytics-api.leena.ai",
    )


@pytest.mark.parametrize(
    "region",
    [
        "",
        " ",
        "us east",
        "us.east",
        "evil.com/",
        "a/b",
        "a#",
        "a?",
        "a@b",
        "a:80",
        "-a",
        "a-",
        "ü",
        "a\n",
        "a" * 64,
        5,
    ],
)
def test_region_that_could_change_the_host_is_refused(region: Any) -> None:
    """A region is letters, digits and inner hyphens; anything else is refused, saying so."""
    with pytest.raises(ValueError, match="region: expected letters, digits and inner hyphens"):
        LeenaEndpoints.for_region(region)
    with pytest.raises(ValueError, match="region"):
        Leena(SessionPool(), credentials=_CREDENTIALS, region=region)


@given(st.text())
def test_any_region_keeps_the_host(region: str) -> None:
    """Whatever is given as a region, the hosts stay the vendor's."""
    try:
        endpoints = LeenaEndpoints.for_region(region)
    except ValueError:
        return
    for url in (endpoints.token, endpoints.aop, endpoints.report):
        assert url is not None
        assert url.startswith("https://")
        assert url.endswith(".leena.ai")
        assert url.count("/") == 2
        assert url.count(".") == 2


@pytest.mark.parametrize("name", ["token", "aop", "report"])
async def test_each_host_is_overridden_by_itself(name: str) -> None:
    """One endpoint may be a proxy's or a local server's; the others stay the region's."""
    settings: dict[str, Any] = {name: "http://127.0.0.1:8080/leena/"}
    given = LeenaEndpoints(**settings).completed("us-east-1")
    regional = LeenaEndpoints.for_region("us-east-1")
    for each in ("token", "aop", "report"):
        expected = "http://127.0.0.1:8080/leena" if each == name else getattr(regional, each)
        assert getattr(given, each) == expected


@pytest.mark.parametrize("name", ["token", "aop", "report"])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://leena.example", "clear text"),
        ("http://10.0.0.1", "clear text"),
        ("http://127.0.0.1.evil.com", "clear text"),
        ("http://localhost.evil.com", "clear text"),
        ("http://2130706433", "clear text"),
        ("ftp://leena.example", "scheme"),
        ("leena.example", "scheme"),
        ("", "scheme"),
        ("https://", "https://host"),
        ("https://user:pw@leena.example", "no user"),
        ("https://leena.example?x=1", "no user, query or fragment"),
        ("https://leena.example#x", "no user, query or fragment"),
        ("https://leena.example:port", "not a URL"),
    ],
)
def test_base_urls_that_are_refused(name: str, url: str, why: str) -> None:
    """Clear text to another machine, and what is no plain base URL, is refused, naming the endpoint."""
    settings: dict[str, Any] = {name: url}
    with pytest.raises(ValueError, match=rf"endpoints\.{name}.*{why}"):
        LeenaEndpoints(**settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:1",
        "https://leena.example/x",
    ],
)
def test_base_urls_that_are_accepted(url: str) -> None:
    """A URL with https goes anywhere, one with http to this machine."""
    assert LeenaEndpoints(aop=url).aop == url


def test_insecure_hosts_by_request() -> None:
    """`allow_insecure` lets clear text through, for test systems that are protected otherwise."""
    endpoints = LeenaEndpoints(aop="http://10.0.0.1", allow_insecure=True).completed(None)
    assert endpoints.aop == "http://10.0.0.1"


@pytest.mark.parametrize("missing", list(_ENVIRON))
def test_missing_variable_is_named(missing: str) -> None:
    """The error names the variables that are not set, and shows no value of the others."""
    environ = {name: value for name, value in _ENVIRON.items() if name != missing}
    for found in (environ, {**environ, missing: ""}):
        with pytest.raises(ValueError, match=missing) as caught:
            LeenaCredentials.from_env(found)
        assert "s3cr3t" not in str(caught.value)
        assert all(name not in str(caught.value) for name in environ)


def test_all_missing_variables_are_named_at_once() -> None:
    """The error lists all missing variables, also from the client and the process's own environment."""
    for make in (lambda: LeenaCredentials.from_env({}), lambda: Leena.from_env(SessionPool())):
        with pytest.raises(
            ValueError, match="LEENA_CLIENT_ID, LEENA_CLIENT_SECRET, LEENA_USERNAME, LEENA_PASSWORD"
        ):
            make()


async def test_client_from_the_environment() -> None:
    """Region and the three base URLs are read as well, and none of them has to be set."""
    async with SessionPool() as pool:
        assert repr(Leena.from_env(pool, _ENVIRON)) == "<Leena primary region at https://aic.leena.ai>"
        leena = Leena.from_env(
            pool, {**_ENVIRON, "LEENA_REGION": "us-east-1", "LEENA_AOP_URL": "http://[::1]:9/x"}
        )
        assert repr(leena) == "<Leena us-east-1 at http://[::1]:9/x>"
        assert str(leena.item("1").ref) == "leena:us-east-1/1"
        with pytest.raises(ValueError, match=r"endpoints\.report"):
            Leena.from_env(pool, {**_ENVIRON, "LEENA_REPORT_URL": "http://elsewhere.example"})


async def test_references_name_region_or_host() -> None:
    """A reference has the region, written out or not; without one, the host of a user's own endpoint."""
    async with SessionPool() as pool:
        for changes, text in (
            ({}, "leena:ap-south-1/1"),
            ({"LEENA_REGION": "ap-south-1"}, "leena:ap-south-1/1"),
            ({"LEENA_REGION": "US-East-1"}, "leena:us-east-1/1"),
            ({"LEENA_AOP_URL": "https://aic.leena.ai/"}, "leena:ap-south-1/1"),
            (
                {"LEENA_AOP_URL": "https://gateway.example.com:8443/leena"},
                "leena:gateway.example.com:8443%2Fleena/1",
            ),
            ({"LEENA_REPORT_URL": "https://gateway.example.com"}, "leena:ap-south-1/1"),
        ):
            environ = {f"{key}__eu": value for key, value in {**_ENVIRON, **changes}.items()}
            assert str(Leena.from_env(pool, {**_ENVIRON, **changes}).item("1").ref) == text
            named = Leena.from_env(pool, environ, name="eu")
            assert str(named.item("1").ref) == text.replace("leena:", "leena:eu@")


def test_variables_are_described() -> None:
    """Each variable that is read is listed with its meaning."""
    assert set(_ENVIRON) < set(PROVIDER.variables)
    assert all(PROVIDER.variables.values())


@pytest.mark.parametrize("name", ["client_id", "client_secret", "username", "password"])
def test_empty_credentials_are_refused(name: str) -> None:
    """Credentials have four parts, none of them empty."""
    settings: dict[str, Any] = {
        "client_id": "a",
        "client_secret": "b",
        "username": "c",
        "password": "d",
        name: "",
    }
    with pytest.raises(ValueError, match=f"{name} is empty"):
        LeenaCredentials(**settings)


def test_credentials_are_never_shown() -> None:
    """Neither repr, str nor a pickle shows a secret; credentials can be compared."""
    assert "s3cr3t" not in repr(_CREDENTIALS)
    assert "p4ss" not in str(_CREDENTIALS)
    assert copy.copy(_CREDENTIALS) == _CREDENTIALS
    same = LeenaCredentials(
        client_id="c", client_secret=Secret("s3cr3t"), username="u", password=Secret("p4ss")
    )
    assert (same, hash(same)) == (_CREDENTIALS, hash(_CREDENTIALS))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(_CREDENTIALS)


def test_account_name_shows_none_of_the_credentials() -> None:
    """The name by which stores and statistics call an account is stable and shows no credential."""
    name = _CREDENTIALS.name_at("https://acl.leena.ai")
    assert name == _CREDENTIALS.name_at("https://acl.leena.ai")
    assert name != _CREDENTIALS.name_at("https://us-east-1-acl.leena.ai")
    assert name.startswith("leena-")
    assert "s3cr3t" not in name


async def test_requests_go_to_the_regions_hosts() -> None:
    """Each surface is asked at its own host."""
    from aioagents.providers.leena.fake import FakeLeena  # noqa: PLC0415

    clock = FakeClock()
    send = FakeSend(FakeLeena(), clock=clock)
    credentials = LeenaCredentials.from_env(FakeLeena().environment("http://x"))
    async with SessionPool(clock=clock, send=send) as pool:
        leena = Leena(pool, credentials=credentials, region="us-east-1")
        run = await leena.execute("a")
        await run.poll()
        async for _ in leena.report("2026-01-01", "2026-01-02"):
            pass
    assert {request.call: request.origin for request in send.sent} == {
        "token": "https://us-east-1-acl.leena.ai",
        "aop.execute": "https://us-east-1-aic.leena.ai",
        "aop.status": "https://us-east-1-aic.leena.ai",
        "report": "https://us-east-1-analytics-api.leena.ai",
    }
    assert len(send.calls("token")) == 1
