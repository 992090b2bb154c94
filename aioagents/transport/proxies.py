"""Which proxy leads to a host."""

import base64
import ipaddress
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

_SCHEMES: Final = frozenset({"http", "https"})


class Proxies:
    """The proxy that is given, for all hosts; None means those of the environment, an empty string none at all.

    Those of the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`) are not used for hosts of this machine.
    """

    def __init__(self, proxy: str | None) -> None:
        if proxy:
            _url(proxy)
        self._proxy = proxy
        self._environment = getproxies() if proxy is None else {}

    def find(self, url: URL) -> URL | None:
        """Return the URL of the proxy that leads to the host of `url`, None where there is none.

        Raises `aiohttp.InvalidURL` for a proxy that is not an HTTP one.
        """
        if self._proxy is not None:
            return _url(self._proxy) if self._proxy else None
        found = self._environment.get(url.scheme)
        host = url.host or ""
        if not found or _is_here(host) or proxy_bypass(f"{host}:{url.port}"):
            return None
        return _url(found if "://" in found else f"http://{found}")


def authorization_for(url: URL, proxy: URL | None) -> dict[str, str]:
    """Return the header with a proxy's credentials for requests to the host of `url`.

    It has none for https, where only the request for a tunnel has them, which aiohttp makes.
    """
    if proxy is None or url.scheme != "http" or proxy.user is None:
        return {}
    credentials = f"{proxy.user}:{proxy.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def _url(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in _SCHEMES or not url.host:
        raise aiohttp.InvalidURL("the proxy", "is not an http or https URL")
    return url


def _is_here(host: str) -> bool:
    """Return whether `host` is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
