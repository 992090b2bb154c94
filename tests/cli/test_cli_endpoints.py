"""Named endpoints on the command line: their settings, and references that lead to them."""

import json
from pathlib import Path
from typing import Any

import pytest

from aioagents import RunRef
from aioagents.providers.agh.fake import job_id
from aioagents.simulator import Simulator
from tests.cli.test_cli_batch import rows_of, write_rows


@pytest.fixture
def named(cli: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the command, whose settings are all those of an endpoint called billing."""
    for name, value in simulator.environment().items():
        monkeypatch.delenv(name)
        monkeypatch.setenv(f"{name}__billing", value)
    return cli


@pytest.mark.parametrize(
    "command",
    [
        ("run", "leena", "good"),
        ("run", "leap", "good"),
        ("run", "agh", job_id("good")),
        ("run", "agent-platform", "--text", "good"),
        ("agent-platform", "tools", "deploy", "good"),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_run_and_wait(named: Any, simulator: Simulator, command: tuple[str, ...]) -> None:
    """A run is started at the endpoint that is named, and its reference leads back there without an option."""
    started = named(*command, "--endpoint", "billing", "--no-wait")
    assert started.err == ""
    ref = RunRef.parse(started.out.splitlines()[0])
    host = simulator.url.removeprefix("http://")
    assert (started.code, ref.scope.partition(";")[0]) == (0, f"billing@{host}")
    assert named("wait", str(ref)).code == 0
    assert named("status", str(ref)).out.startswith(str(ref))


def test_settings_of_the_name_alone(named: Any, cli: Any, simulator: Simulator) -> None:
    """Neither the plain settings nor those of another name are used; what is missing is named in full."""
    for options, suffix in (((), ""), (("--endpoint", "other"), "__other")):
        for command in (
            ("run", "leap", "good"),
            ("report", "leena", "--from", "2026-01-01", "--to", "2026-01-02"),
        ):
            found = named(*command, *options)
            assert found.code == 2
            assert f"_PASSWORD{suffix}" in found.err or f"LEAP_API_KEY{suffix}" in found.err
    assert named("wait", "leap:other@127.0.0.1/1").code == 2
    assert simulator.statistics().requests == 0


def test_names_that_are_none(cli: Any) -> None:
    """A name that no variable and no reference could have is a usage error."""
    found = cli("agh", "jobs", "list", "--endpoint", "a@b")
    assert found.code == 2
    assert "--endpoint" in found.err


def test_lists_of_an_endpoint(named: Any) -> None:
    """Commands that list take the option too."""
    found = named("agh", "jobs", "list", "--endpoint", "billing", "--json")
    assert found.code == 0
    assert len(found.documents) > 1


def test_batch_at_an_endpoint(named: Any, tmp_path: Path) -> None:
    """A batch runs at the endpoint that is named, and the command that continues it has the option."""
    path, output = write_rows(tmp_path, {"a": "good", "b": "bad"}), tmp_path / "out.jsonl"
    options = [str(path), "--vendor", "leena", "--endpoint", "billing", "--output", str(output)]
    assert named("batch", *options).code == 1
    assert all(row["ref"].startswith("leena:billing@127.0.0.1:") for row in rows_of(output))
    again = named("batch", *options)
    assert again.code == 2
    assert "--endpoint billing" in again.err
    assert named("batch", *options, "--resume").code == 1


def test_doctor_checks_each_endpoint(cli: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain settings and those of each name are checked and listed by themselves."""
    monkeypatch.setenv("LEAP_API_KEY__billing", "mistyped")
    monkeypatch.setenv("LEAP_BASE_URL__billing", simulator.url)
    monkeypatch.setenv("LEAP_BASE_URL__old", simulator.url)
    found = cli("doctor", "leap", "--json")
    assert found.code == 5
    plain, billing, old = json.loads(found.out)["vendors"]
    assert [each["endpoint"] for each in (plain, billing, old)] == ["", "billing", "old"]
    assert [each["ok"] for each in (plain, billing, old)] == [True, False, False]
    assert billing["settings"] == {
        "LEAP_API_KEY__billing": True,
        "LEAP_BASE_URL__billing": True,
        "LEAP_DIALECT__billing": False,
    }
    assert "LEAP_API_KEY__old" in old["findings"][0]["message"]
    shown = cli("doctor", "leap").out
    assert "Leap (leap)\n" in shown
    assert "Leap (leap), endpoint billing\n" in shown
    assert "mistyped" not in shown + found.out


def test_doctor_without_plain_settings(named: Any) -> None:
    """Where only a named endpoint has settings, only that one is checked."""
    found = named("doctor", "--json")
    assert found.code == 0
    assert {each["endpoint"] for each in json.loads(found.out)["vendors"]} == {"billing"}
