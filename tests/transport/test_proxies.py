"""Which proxy leads to which host."""

import aiohttp
import pytest
from yarl import URL

from aioagents.transport.proxies import Proxies

VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return an environment without proxies, to be changed."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def find(url: str, proxy: str | None = None) -> str | None:
    """Return the proxy that leads to the host of a URL."""
    found = Proxies(proxy).find(URL(url))
    return None if found is None else str(found)


def test_none_by_default(environment: pytest.MonkeyPatch) -> None:
    """Without settings there is no proxy."""
    assert find("https://example.com") is None


@pytest.mark.parametrize("upper", [False, True])
def test_those_of_the_environment(environment: pytest.MonkeyPatch, upper: bool) -> None:
    """Each scheme has its own variable, in either case; a proxy may be written without its scheme."""
    for name, value in (("https_proxy", "http://user:pass@secure:3128"), ("http_proxy", "plain:8080")):
        environment.setenv(name.upper() if upper else name, value)
    assert find("https://example.com/a") == "http://user:pass@secure:3128"
    assert find("http://example.com/a") == "http://plain:8080"


@pytest.mark.parametrize(
    ("hosts", "url", "is_direct"),
    [
        ("example.com", "https://example.com", True),
        ("example.com", "https://api.example.com", True),
        (".example.com", "https://api.example.com", True),
        ("example.com", "https://notexample.com", False),
        ("other.com, example.com", "https://example.com", True),
        ("example.com:443", "https://example.com", True),
        ("example.com:444", "https://example.com", False),
        ("10.0.0.1", "https://10.0.0.1:8443", True),
        ("*", "https://example.com", True),
        ("", "https://example.com", False),
    ],
)
def test_hosts_without_a_proxy(
    environment: pytest.MonkeyPatch, hosts: str, url: str, is_direct: bool
) -> None:
    """Hosts in `NO_PROXY`, and those below them, are reached directly."""
    environment.setenv("HTTPS_PROXY", "http://proxy")
    environment.setenv("NO_PROXY", hosts)
    assert (find(url) is None) is is_direct


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "api.localhost"])
def test_this_machine(environment: pytest.MonkeyPatch, host: str) -> None:
    """This machine is reached directly, unless a proxy was given for everything."""
    environment.setenv("HTTP_PROXY", "http://proxy")
    assert find(f"http://{host}:2123") is None
    assert find(f"http://{host}:2123", "http://given") == "http://given"


def test_one_that_is_given(environment: pytest.MonkeyPatch) -> None:
    """A given proxy is used for all hosts, whatever the environment says; an empty one means none."""
    environment.setenv("HTTPS_PROXY", "http://other")
    environment.setenv("NO_PROXY", "*")
    assert find("https://example.com", "http://given:1") == "http://given:1"
    assert find("https://example.com", "") is None


@pytest.mark.parametrize(
    "proxy", ["socks5://user:hunter2@a", "a:1", "http://", "ftp://a", "//a", "http://[::1"]
)
def test_what_is_no_proxy(environment: pytest.MonkeyPatch, proxy: str) -> None:
    """Only HTTP proxies are understood; the error shows no credentials."""
    with pytest.raises(aiohttp.InvalidURL) as caught:
        Proxies(proxy)
    assert isinstance(caught.value, ValueError)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_proxy_in_the_environment(environment: pytest.MonkeyPatch) -> None:
    """A proxy of the environment that is not understood fails where it would be used."""
    environment.setenv("HTTPS_PROXY", "socks5://a")
    with pytest.raises(aiohttp.InvalidURL):
        find("https://example.com")
    assert find("http://example.com") is None
