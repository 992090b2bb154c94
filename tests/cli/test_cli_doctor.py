"""`doctor`: what it checks, and that it prints no value of any setting."""

import json
import socket
from typing import Any

import pytest

from aioagents.simulator import Simulator


def test_success(cli: Any, simulator: Simulator) -> None:
    """If all is well it exits with 0: a token for Leena, one read with each other key, nothing started."""
    found = cli("doctor")
    assert (found.code, found.err) == (0, "")
    assert "  set      LEENA_PASSWORD" in found.out
    assert "  not set  LEENA_REGION" in found.out
    assert "credentials: accepted" in found.out
    seen = simulator.statistics()
    assert (seen.token_requests, seen.requests, seen.starts) == (1, 5, 0)
    for value in ("demo-client", "demo-user"):
        assert value not in found.out


def test_json_is_one_document(cli: Any) -> None:
    """With --json the results are one document: versions, settings by name, and all checks."""
    found = json.loads(cli("doctor", "leena", "--json").out)
    assert found["ok"]
    assert {"python", "aiohttp"} <= set(found["versions"])
    [leena] = found["vendors"]
    assert leena["settings"]["LEENA_PASSWORD"] is True
    checks = {each["what"]: each["ok"] for each in leena["findings"]}
    reached = {"host of token", "host of aop", "host of report"}
    assert checks == dict.fromkeys({"settings", "credentials"} | reached, True)


def test_missing_settings_are_named(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are missing are named, with exit code 1."""
    monkeypatch.delenv("LEENA_USERNAME")
    found = cli("doctor")
    assert found.code == 1
    assert "WRONG    settings: not set in the environment: LEENA_USERNAME" in found.out


def test_without_settings_all_are_shown(
    cli: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If nothing is set, every vendor's settings are listed."""
    for name in simulator.environment():
        monkeypatch.delenv(name)
    found = cli("doctor")
    assert found.code == 1
    assert found.out.count("  not set  LEENA_") == 8


def test_refused_credentials_are_5(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are refused exit with 5."""
    monkeypatch.setenv("LEENA_CLIENT_SECRET", "mistyped")
    found = cli("doctor")
    assert found.code == 5
    assert "401 (unknown client)" in found.out
    assert "mistyped" not in found.out


def test_hosts_out_of_reach(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that do not answer, or not with TLS, are printed with the reason; credentials are then not checked."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("LEENA_TOKEN_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("LEENA_AOP_URL", f"https://127.0.0.1:{port}")
    monkeypatch.setenv("LEENA_REPORT_URL", "https://no-such-host.invalid")
    found = cli("doctor")
    assert found.code == 1
    assert "host of aop: " in found.out
    assert found.out.count("Connection refused") == 2
    assert "does not resolve" in found.out
    assert "not checked: no host can be reached" in found.out


def test_host_without_tls(cli: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not speak TLS, though its URL is https, is reported."""
    monkeypatch.setenv("LEENA_AOP_URL", simulator.url.replace("http:", "https:"))
    found = cli("doctor")
    assert found.code == 1
    assert "TLS failed: " in found.out


def test_unknown_vendor_is_2(cli: Any) -> None:
    """An unknown vendor exits with 2."""
    found = cli("doctor", "nobody")
    assert found.code == 2
    assert "no vendor is called 'nobody'" in found.err
