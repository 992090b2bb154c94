"""`doctor`: whether what the commands need is there, can be reached, and is let in."""

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

from ..auth import read_settings
from ..connect import Clients
from ..contract import Provider
from ..errors import AgentsError, AuthenticationError, PermissionDenied
from ..providers import all_providers, find_provider
from .discover import find_endpoints
from .exits import Exit
from .options import documented, json_option
from .output import Output, message_of, one_line
from .work import Work, perform

_REACH: Final = 5.0  # seconds for one connection
_TOKEN: Final = 20.0  # seconds for a token, tries included
_PACKAGES: Final = ("aioagents", "aiohttp", "anyio", "orjson")


@frozen(kw_only=True)
class Finding:
    """One thing that was polled. `is_ok` is None where it could not be polled."""

    what: str
    is_ok: bool | None
    told: str
    seconds: float | None = None
    is_auth: bool = False

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"what": self.what, "ok": self.is_ok, "told": self.told, "seconds": self.seconds}


@define(kw_only=True)
class Health:
    """What was found of one vendor. Of its settings the names alone, and whether they are set."""

    vendor: str
    title: str
    settings: Mapping[str, bool]
    findings: list[Finding] = field(factory=list)

    @property
    def is_ok(self) -> bool:
        """Return whether nothing is wrong."""
        return not any(finding.is_ok is False for finding in self.findings)

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "vendor": self.vendor,
            "ok": self.is_ok,
            "settings": self.settings,
            "findings": [finding.describe() for finding in self.findings],
        }


@click.command("doctor")
@click.argument("vendors", nargs=-1, metavar="[VENDOR]...")
@json_option
def _doctor(*, vendors: Sequence[str], is_json: bool) -> Exit:
    """See whether settings are there, hosts can be reached, and credentials are let in. Starts nothing.

    Without VENDOR it looks at those of which any setting is there. Values of settings are never printed, only
    the hosts that they lead to. Exits with 5 when credentials are refused, with 1 when anything else is wrong.
    """
    work = Work(Output(is_json=is_json), reports_faults=False)

    async def job() -> Exit:
        chosen = [find_provider(name) for name in dict.fromkeys(vendors)] or _configured()
        async with work.pool() as pool:
            clients = Clients(pool)
            healths = [await _examine(provider, clients, work.out.hide) for provider in chosen]
        _tell(work.out, healths)
        if any(finding.is_auth for health in healths for finding in health.findings):
            return Exit.AUTH
        return Exit.OK if all(health.is_ok for health in healths) else Exit.FAILED

    return perform(work, job)


doctor: Final = documented(_doctor)


def _configured() -> list[Provider]:
    """Give the vendors that somebody began to set up; all, when there is none."""
    providers = list(all_providers().values())
    begun = [each for each in providers if read_settings((), each.variables)]
    return begun or providers


async def _examine(provider: Provider, clients: Clients, hide: Callable[[str], str]) -> Health:
    found = read_settings((), provider.variables)
    health = Health(
        vendor=provider.name,
        title=provider.title,
        settings={name: name in found for name in provider.variables},
    )
    try:
        client = clients.named(provider.name)
        tell_endpoints = find_endpoints(provider.name)
        endpoints = {} if tell_endpoints is None else tell_endpoints(None)
    except ValueError as exc:
        health.findings.append(Finding(what="settings", is_ok=False, told=str(exc)))
        return health
    health.findings.append(Finding(what="settings", is_ok=True, told="complete"))
    async with asyncio.TaskGroup() as group:
        reaching = [group.create_task(_reach(what, url)) for what, url in endpoints.items()]
    reached = [task.result() for task in reaching]
    health.findings += reached
    if reached and not any(finding.is_ok for finding in reached):
        health.findings.append(Finding(what="credentials", is_ok=None, told="not tried: no host is reached"))
    else:
        health.findings.append(await _let_in(client.check, hide))
    return health


async def _reach(what: str, url: str) -> Finding:
    """Open a connection, with TLS where the URL has it, and close it again."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if is_tls else 80)
    name = f"host of {what}"
    began_at = time.monotonic()
    try:
        with anyio.fail_after(_REACH):
            async with await anyio.connect_tcp(host, port) as stream:
                if is_tls:
                    await (await TLSStream.wrap(stream, hostname=host, standard_compatible=False)).aclose()
    except (OSError, TimeoutError) as exc:
        return Finding(what=name, is_ok=False, told=f"{url}: {_why(exc)}")
    return Finding(what=name, is_ok=True, told=url, seconds=time.monotonic() - began_at)


def _why(error: BaseException) -> str:
    """Say why no connection was had; the operating system's own words lie at the bottom."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, socket.gaierror):
        return "the host name does not resolve"
    if isinstance(error, TimeoutError) and not error.args:
        return f"no connection within {_REACH:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or 'no reason given'}"
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else message_of(error)


async def _let_in(check: Callable[[], Awaitable[None]], hide: Callable[[str], str]) -> Finding:
    """Have the client obtain a token, or make the vendor's cheapest authenticated read."""
    began_at = time.monotonic()
    try:
        async with asyncio.timeout(_TOKEN):
            await check()
    except TimeoutError:
        return Finding(what="credentials", is_ok=False, told=f"no answer within {_TOKEN:g} s")
    except AgentsError as error:
        detail = f" ({error.detail})" if error.detail else ""
        return Finding(
            what="credentials",
            is_ok=False,
            told=hide(one_line(f"{error}{detail}")),
            is_auth=isinstance(error, AuthenticationError | PermissionDenied),
        )
    return Finding(what="credentials", is_ok=True, told="let in", seconds=time.monotonic() - began_at)


def _tell(out: Output, healths: Sequence[Health]) -> None:
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
        out.line(f"{health.title} ({health.vendor})")
        for name, is_set in health.settings.items():
            out.line(f"  {'set' if is_set else 'not set':<8} {name}")
        for finding in health.findings:
            mark = {True: "ok", False: "WRONG", None: "-"}[finding.is_ok]
            took = "" if finding.seconds is None else f"  {finding.seconds * 1000:.0f} ms"
            out.line(f"  {mark:<8} {finding.what}: {finding.told}{took}")
