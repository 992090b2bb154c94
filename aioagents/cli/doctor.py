"""The command `doctor`: checks settings, connections to hosts, and credentials."""

import asyncio
import os
import platform
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import click
from anyio.streams.tls import TLSStream
from attrs import define, field, frozen

from ..auth import endpoint_names, read_settings
from ..connect import Clients
from ..contract import Provider
from ..errors import AgentsError, AuthenticationError, PermissionDenied
from ..providers import all_providers, find_provider
from .discover import find_endpoints
from .exits import Exit
from .options import json_option
from .output import Output, message_of, one_line
from .work import Work, perform

_CONNECT_TIMEOUT: Final = 5.0  # seconds for one connection
_CHECK_TIMEOUT: Final = 20.0  # seconds for the check of credentials, retries included
_PACKAGES: Final = ("aioagents", "aiohttp", "anyio", "orjson")


@frozen(kw_only=True)
class Finding:
    """The result of one check. `is_ok` is None if the check could not be made."""

    what: str
    is_ok: bool | None
    message: str
    seconds: float | None = None
    is_auth: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the members for JSON."""
        return {"what": self.what, "ok": self.is_ok, "message": self.message, "seconds": self.seconds}


@define(kw_only=True)
class Health:
    """All results for one endpoint. Settings are named, with whether they are set, but never their values."""

    vendor: str
    endpoint: str
    title: str
    settings: Mapping[str, bool]
    findings: list[Finding] = field(factory=list)

    @property
    def is_ok(self) -> bool:
        """Return whether no check failed."""
        return not any(finding.is_ok is False for finding in self.findings)

    def describe(self) -> dict[str, Any]:
        """Return the members for JSON."""
        return {
            "vendor": self.vendor,
            "endpoint": self.endpoint,
            "ok": self.is_ok,
            "settings": self.settings,
            "findings": [finding.describe() for finding in self.findings],
        }


@click.command("doctor")
@click.argument("vendors", nargs=-1, metavar="[VENDOR]...")
@json_option
def doctor(*, vendors: Sequence[str], is_json: bool) -> Exit:
    """Check that settings are complete, hosts can be reached and credentials are accepted. Starts nothing.

    Without VENDOR it checks the vendors that have any setting, each with all endpoints that are named in the
    environment, as in LEAP_API_KEY__billing. It prints the URLs of hosts, but no other values of
    settings. Exits with 5 if credentials are refused, and with 1 if anything else is wrong.
    """
    work = Work(Output(is_json=is_json), reports_faults=False)

    async def job() -> Exit:
        chosen = [find_provider(name) for name in dict.fromkeys(vendors)] or _configured()
        async with work.pool() as pool:
            clients = Clients(pool)
            healths = [
                await _check_endpoint(provider, name, clients, work.out.hide)
                for provider in chosen
                for name in _endpoints_of(provider)
            ]
        _print_healths(work.out, healths)
        if any(finding.is_auth for health in healths for finding in health.findings):
            return Exit.AUTH
        return Exit.OK if all(health.is_ok for health in healths) else Exit.FAILED

    return perform(work, job)


def _configured() -> list[Provider]:
    """Return the vendors that have any setting; all vendors if none has."""
    providers = list(all_providers().values())
    found = [
        each for each in providers if read_settings((), each.variables) or endpoint_names(each.variables)
    ]
    return found or providers


def _endpoints_of(provider: Provider) -> list[str]:
    """Return the names of the endpoints that have any setting; the one without a name if none has."""
    names = endpoint_names(provider.variables)
    return ["", *names] if read_settings((), provider.variables) or not names else names


async def _check_endpoint(
    provider: Provider, name: str, clients: Clients, hide: Callable[[str], str]
) -> Health:
    found = read_settings((), provider.variables, name=name)
    health = Health(
        vendor=provider.name,
        endpoint=name,
        title=provider.title,
        settings={f"{each}__{name}" if name else each: each in found for each in provider.variables},
    )
    try:
        client = clients.named(provider.name, name)
        endpoints_of = find_endpoints(provider.name)
        endpoints = {} if endpoints_of is None else endpoints_of(found)
    except ValueError as exc:
        health.findings.append(Finding(what="settings", is_ok=False, message=str(exc)))
        return health
    health.findings.append(Finding(what="settings", is_ok=True, message="complete"))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_check_host(what, url)) for what, url in endpoints.items()]
    reached = [task.result() for task in tasks]
    health.findings += reached
    if reached and not any(finding.is_ok for finding in reached):
        health.findings.append(
            Finding(what="credentials", is_ok=None, message="not checked: no host can be reached")
        )
    else:
        health.findings.append(await _check_credentials(client.check, hide))
    return health


async def _check_host(what: str, url: str) -> Finding:
    """Open a connection, with TLS if the URL has it, and close it again."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if is_tls else 80)
    name = f"host of {what}"
    began_at = time.monotonic()
    try:
        with anyio.fail_after(_CONNECT_TIMEOUT):
            async with await anyio.connect_tcp(host, port) as stream:
                if is_tls:
                    await (await TLSStream.wrap(stream, hostname=host, standard_compatible=False)).aclose()
    except (OSError, TimeoutError) as exc:
        return Finding(what=name, is_ok=False, message=f"{url}: {_reason(exc)}")
    return Finding(what=name, is_ok=True, message=url, seconds=time.monotonic() - began_at)


def _reason(error: BaseException) -> str:
    """Return why there was no connection; the operating system's own error is the last of the causes."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, socket.gaierror):
        return "the host name does not resolve"
    if isinstance(error, TimeoutError) and not error.args:
        return f"no connection within {_CONNECT_TIMEOUT:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or 'no reason given'}"
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else message_of(error)


async def _check_credentials(check: Callable[[], Awaitable[None]], hide: Callable[[str], str]) -> Finding:
    """Check the credentials by a request for a token, or by the vendor's cheapest authenticated read."""
    began_at = time.monotonic()
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT):
            await check()
    except TimeoutError:
        return Finding(what="credentials", is_ok=False, message=f"no answer within {_CHECK_TIMEOUT:g} s")
    except AgentsError as error:
        detail = f" ({error.detail})" if error.detail else ""
        return Finding(
            what="credentials",
            is_ok=False,
            message=hide(one_line(f"{error}{detail}")),
            is_auth=isinstance(error, AuthenticationError | PermissionDenied),
        )
    return Finding(what="credentials", is_ok=True, message="accepted", seconds=time.monotonic() - began_at)


def _print_healths(out: Output, healths: Sequence[Health]) -> None:
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    out.document(
        {
            "ok": all(health.is_ok for health in healths),
            "versions": versions,
            "vendors": [health.describe() for health in healths],
        }
    )
    out.line("  ".join(f"{name} {number}" for name, number in versions.items()))
    for health in healths:
        out.line()
        named = f", endpoint {health.endpoint}" if health.endpoint else ""
        out.line(f"{health.title} ({health.vendor}){named}")
        for name, is_set in health.settings.items():
            out.line(f"  {'set' if is_set else 'not set':<8} {name}")
        for finding in health.findings:
            label = {True: "ok", False: "WRONG", None: "-"}[finding.is_ok]
            took = "" if finding.seconds is None else f"  {finding.seconds * 1000:.0f} ms"
            out.line(f"  {label:<8} {finding.what}: {finding.message}{took}")
