"""The command line as a whole: help, exit codes, and the packages that it needs."""

import subprocess
import sys
from typing import Any

import pytest

from aioagents.cli import main

COMMANDS = (
    (),
    ("run",),
    ("run", "leena"),
    ("status",),
    ("wait",),
    ("report",),
    ("report", "leena"),
    ("simulate",),
    ("doctor",),
    ("demo",),
)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_help_documents_exit_codes(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Every help page lists the exit codes."""
    assert main([*arguments, "--help"]) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown[shown.index("Exit codes:") :].splitlines()[1:]]
    codes = [line[0] for line in lines if line and line[0].isdigit()]
    assert codes == ["0", "1", "2", "3", "4", "5", "130"]


@pytest.mark.parametrize("name", ["run", "status", "wait", "report", "simulate", "doctor", "demo"])
def test_every_command_has_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command takes --json."""
    assert main([name, *(["leena"] if name in {"run", "report"} else []), "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_no_arguments_show_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments it prints its help and exits with 2."""
    assert main([]) == 2
    assert "demo" in capsys.readouterr().err


def test_wrong_command_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command exits with 2, and prints one line."""
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().err == "aioagents: No such command 'nonsense'; see 'aioagents --help'\n"


@pytest.mark.parametrize("lacking", ["click", "rich"])
def test_missing_extra_is_reported(
    lacking: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without click or rich it prints in one line how to install them, and exits with 2."""
    monkeypatch.setitem(sys.modules, lacking, None)
    assert main(["demo"]) == 2
    expected = f"aioagents: the command line needs {lacking}: pip install 'aioagents[cli]'\n"
    assert capsys.readouterr().err == expected


def test_help_imports_no_rich() -> None:
    """Commands that draw nothing do not import rich."""
    code = "import sys; from aioagents.cli import main; main(['--version']); print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    version, is_imported = done.stdout.splitlines()
    assert version.startswith("aioagents, version ")
    assert is_imported == "False"


def test_ctrl_c_outside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C before anything was started exits with 130 and prints no traceback."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("aioagents.cli.options.Path.read_bytes", interrupt)
    assert main(["run", "leena", "x", "--context-file", "x"]) == 130
    assert "Traceback" not in capsys.readouterr().err
