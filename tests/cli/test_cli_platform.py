"""`run agent-platform` and `agent-platform`: runs, dock jobs and uploads of Kore Agent Platform."""

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from aioagents import RunRef
from aioagents.cli import main
from aioagents.cli.commands import commands
from aioagents.cli.discover import find_commands
from aioagents.providers.agent_platform import CHUNK, ONE_CALL
from aioagents.providers.agent_platform.fake import FakeAgentPlatform
from aioagents.simulator import FaultPlan, Simulator

MODEL = ("--type", "openSource", "--name", "mine", "--device", "g5.xlarge", "--temperature", "0.5")
HYPER = ("--max-tokens", "256", "--top-p", "0.9", "--top-k", "40")
#: The escape sequence that erases what was drawn.
ERASED = "\x1b[1A\x1b[2K"


def _pages(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for inner, each in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _pages(each, f"{name} {inner}")


PAGES = dict(_pages(commands.commands["agent-platform"], "agent-platform"))
for _kind in ("RUN", "CHAT"):
    for _each in find_commands(_kind):
        if _each.name == "agent-platform":
            PAGES[f"{_kind.lower()} agent-platform"] = _each


@pytest.mark.parametrize("name", PAGES)
def test_platform_help_is_complete(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each page says what the command does, what every option means, and what exit codes there are."""
    assert main([*name.split(), "--help"]) == 0
    page = capsys.readouterr().out
    assert "Exit codes:" in page
    assert PAGES[name].get_short_help_str(limit=200)
    assert all(each.help for each in PAGES[name].params if isinstance(each, click.Option))
    assert max(map(len, page.splitlines())) <= 90


# Runs


def test_run_platform_follows_a_run(cli: Any, simulator: Simulator) -> None:
    """`run agent-platform` prints the reference at once, each change, and the app's answer."""
    found = cli("run", "agent-platform", "--text", "good")
    ref, *changes, output = found.out.splitlines()
    assert (found.code, found.err) == (0, "")
    assert RunRef.parse(ref).vendor == "agent-platform"
    assert changes[-1].startswith(f"completed  {ref}  success  after ")
    assert output.startswith('output   [{"type":"text","content":"')
    assert simulator.statistics().fakes["agent-platform"]["runs"] == 1


def test_run_platform_in_json(cli: Any) -> None:
    """With --json the start, the changes and the end are a line each; the reference has the conversation."""
    found = cli("run", "agent-platform", "--text", "good", "--session", "tea", "--user", "ann", "--json")
    started, *_, ended = found.documents
    assert (started["event"], ended["event"], found.code) == ("started", "ended", 0)
    assert started["ref"] == ended["ref"]
    assert "tea" in started["ref"]
    assert (ended["run"]["state"], ended["run"]["output"][0]["type"]) == ("completed", "text")


def test_run_platform_that_fails_is_1(cli: Any) -> None:
    """A run that fails exits with 1."""
    found = cli("run", "agent-platform", "--text", "bad", "--json")
    assert (found.code, found.documents[-1]["exit_code"]) == (1, 1)
    assert found.documents[-1]["run"]["state"] == "failed"


def test_run_platform_that_lasts_is_3(cli: Any) -> None:
    """A run that outlasts --timeout exits with 3, and is named."""
    found = cli("run", "agent-platform", "--text", "endless", "--timeout", "0.3")
    assert found.code == 3
    assert found.out.splitlines()[0] in found.err


def test_run_platform_takes_metadata(cli: Any, platform: FakeAgentPlatform, tmp_path: Path) -> None:
    """--metadata overrides members of --metadata-file, and both are sent to the platform."""
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps({"key": "of the file", "more": [1]}))
    arguments = ("--metadata-file", str(file), "--metadata", "key=good")
    assert cli("run", "agent-platform", "--text", "endless", *arguments).code == 0
    assert platform.starts_by_key == {"good": 1}


def test_platform_runs_are_found_again(cli: Any) -> None:
    """References of app runs and of dock jobs are followed by `status` and `wait` like all others."""
    run = cli("run", "agent-platform", "--text", "good", "--no-wait").out.strip()
    job = cli("agent-platform", "tools", "deploy", "good", "--no-wait").out.strip()
    assert RunRef.parse(run).scope != RunRef.parse(job).scope
    found = cli("wait", run, job, "--json")
    assert (found.code, {each["ref"] for each in found.documents if each["event"] == "ended"}) == (
        0,
        {run, job},
    )
    for ref in (run, job):
        shown = cli("status", ref)
        assert (shown.code, shown.out.lower().splitlines()[:2]) == (
            0,
            [ref.lower(), "state    completed (success)"],
        )


def test_ctrl_c_names_the_platform_run(command: Any) -> None:
    """Ctrl-C while a run is followed exits with 130 and names the run that goes on."""
    running = command("run", "agent-platform", "--text", "endless")
    ref = running.line()
    running.line()  # the first poll
    running.signal(signal.SIGINT)
    done = running.finish()
    assert (done.code, done.err) == (130, f"aioagents: interrupted; still running: 1\n  {ref}\n")


@pytest.mark.parametrize("faults", [FaultPlan.parse("lost=1,only=start")])
def test_platform_start_without_reply_is_4(cli: Any, simulator: Simulator) -> None:
    """A start whose reply is lost is sent once, exits with 4 and says how to find the run."""
    found = cli("run", "agent-platform", "--text", "good", "--session", "tea", "--json")
    assert (found.code, found.documents[-1]["error"]["type"]) == (4, "StartUnknown")
    assert found.documents[-1]["error"]["target"] == "tea"
    assert "sessions.get" in found.err
    assert simulator.statistics().fakes["agent-platform"]["starts"] == 1


# Dock jobs


@pytest.mark.parametrize(
    "job",
    [
        ("tools", "deploy", "good"),
        ("tools", "undeploy", "good"),
        ("models", "deploy", "good", *MODEL, *HYPER),
        ("models", "deploy", "good", *MODEL, *HYPER, "--min-replicas", "1", "--max-replicas", "3"),
        ("models", "undeploy", "good"),
        ("guardrails", "deploy", "Toxicity"),
        ("guardrails", "undeploy", "toxicity"),
    ],
)
def test_jobs_are_followed(cli: Any, job: tuple[str, ...], simulator: Simulator) -> None:
    """Each job is started once and followed to its end."""
    found = cli("agent-platform", *job)
    ref, *_, ended, output = found.out.splitlines()
    assert (found.code, found.err) == (0, "")
    assert RunRef.parse(ref).vendor == "agent-platform"
    assert ended.startswith(f"completed  {ref}")
    assert f'"action":"{job[1].upper()}"' in output
    assert simulator.statistics().fakes["agent-platform"]["dock_jobs"] == 1


@pytest.mark.parametrize("job", [("tools", "undeploy", "bad"), ("models", "export", "bad")])
def test_job_that_fails_is_1(cli: Any, job: tuple[str, ...]) -> None:
    """A job that fails exits with 1; a failed export is not downloaded."""
    found = cli("agent-platform", *job, "--json")
    assert (found.code, found.documents[-1]["event"]) == (1, "ended")
    assert found.documents[-1]["run"]["state"] == "failed"


def test_no_wait_prints_the_reference(cli: Any) -> None:
    """With --no-wait only the reference is printed; with --json also the run that the platform accepted."""
    ref, *more = cli("agent-platform", "models", "undeploy", "good", "--no-wait").out.splitlines()
    assert (RunRef.parse(ref).vendor, more) == ("agent-platform", [])
    [started] = cli("agent-platform", "models", "undeploy", "good", "--no-wait", "--json").documents
    assert (started["event"], started["run"]["ref"]) == ("started", started["ref"])


@pytest.mark.parametrize("kind", ["tools", "models"])
def test_exports_are_printed_and_saved(
    cli: Any, kind: str, tmp_path: Path, platform: FakeAgentPlatform
) -> None:
    """An export ends with its URL, or with the file of --save, downloaded without a key."""
    printed = cli("agent-platform", kind, "export", "good")
    assert (printed.code, printed.out.splitlines()[-1].split("http://")[0]) == (0, "download ")
    exported = cli("agent-platform", kind, "export", "good", "--json").documents[-1]
    assert (exported["event"], exported["url"].startswith("http://127.0.0.1:")) == ("exported", True)
    assert platform.statistics()["downloads"] == 0
    file = tmp_path / "export.zip"
    found = cli("agent-platform", kind, "export", "good", "--save", str(file))
    assert (found.code, found.out.splitlines()[-1]) == (0, f"saved {file}")
    assert file.stat().st_size
    saved = cli("agent-platform", kind, "export", "good", "--save", str(tmp_path / "2"), "--json").documents[
        -1
    ]
    assert saved == {"event": "saved", "file": str(tmp_path / "2")}
    assert (platform.statistics()["downloads"], platform.statistics()["downloads_with_key"]) == (2, 0)


def test_export_that_cannot_be_saved_is_1(cli: Any, tmp_path: Path) -> None:
    """A file that cannot be written is named, and exits with 1, although the job was done."""
    file = tmp_path / "missing" / "export.zip"
    found = cli("agent-platform", "tools", "export", "good", "--save", str(file))
    assert found.code == 1
    assert str(tmp_path / "missing") in found.err
    assert "completed " in found.out


def _files(tmp_path: Path) -> list[str]:
    names = ("tool", "flow", "env")
    for name in names:
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name}))
    return [word for name in names for word in (f"--{name}-file", str(tmp_path / f"{name}.json"))]


def test_tools_are_imported(cli: Any, tmp_path: Path, platform: FakeAgentPlatform) -> None:
    """An import uploads the export's files, then imports them: as a new tool, or into an existing one."""
    files = _files(tmp_path)
    assert cli("agent-platform", "tools", "import", "good", *files[:4]).code == 0
    assert [each.name for each in platform.files] == ["tool.json", "flow.json"]
    found = cli("agent-platform", "tools", "import", "any", "--into", "good", *files)
    assert (found.code, len(platform.files)) == (0, 5)
    assert cli("agent-platform", "tools", "import", "bad", *files).code == 1


def test_import_into_needs_variables(cli: Any, tmp_path: Path, platform: FakeAgentPlatform) -> None:
    """--into without --env-file is a usage error, before a byte is uploaded."""
    found = cli("agent-platform", "tools", "import", "any", "--into", "good", *_files(tmp_path)[:4])
    assert (found.code, list(platform.files)) == (2, [])
    assert "--env-file" in found.err


def test_models_are_imported(cli: Any, tmp_path: Path, platform: FakeAgentPlatform) -> None:
    """A model's file of any size is uploaded in chunks, and its import is followed."""
    file = tmp_path / "model.tar"
    file.write_bytes(b"x" * 1000)
    found = cli("agent-platform", "models", "import", str(file), "--adapter", "--json")
    assert (found.code in {0, 1}, found.documents[-1]["event"]) == (True, "ended")
    assert (platform.statistics()["chunks"], platform.statistics()["chunked_uploads"]) == (1, 1)


# Uploads


def test_small_file_is_uploaded_in_one_call(cli: Any, tmp_path: Path, platform: FakeAgentPlatform) -> None:
    """A small file is one call; only its id is printed."""
    file = tmp_path / "small.json"
    file.write_bytes(b"{}")
    found = cli("agent-platform", "upload", str(file), "--context", "mine")
    [stored] = platform.files
    assert (found.code, found.out, found.err) == (0, f"{stored.id}\n", "")
    assert (stored.name, stored.context, stored.size, stored.chunks) == ("small.json", "mine", 2, 0)


def test_large_file_is_uploaded_in_chunks(cli: Any, tmp_path: Path, platform: FakeAgentPlatform) -> None:
    """A file above the limit of one call is uploaded in chunks, completely and in order."""
    content = bytes(range(256)) * (ONE_CALL // 256 + 1)
    file = tmp_path / "large.json"
    file.write_bytes(content)
    found = cli("agent-platform", "upload", str(file), "--json")
    [stored] = platform.files
    assert (found.code, found.documents) == (0, [{"file_id": stored.id}])
    assert (stored.size, stored.chunks) == (len(content), -(-len(content) // CHUNK))
    assert stored.sha256 == hashlib.sha256(content).hexdigest()


def test_upload_draws_a_bar(on_terminal: Any, tmp_path: Path, platform: FakeAgentPlatform) -> None:
    """On a terminal the bytes transferred are drawn, and only the id stays."""
    file = tmp_path / "small.json"
    file.write_bytes(b"{}" * 500_000)
    code, drawn = on_terminal("agent-platform", "upload", str(file)).finish()
    [stored] = platform.files
    assert (code, drawn.splitlines()[-1]) == (0, f"{ERASED}{stored.id}")
    assert "1.0/1.0 MB" in drawn


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "agent-platform"), "--text"),
        (("run", "agent-platform", "--text", " "), "text"),
        (("run", "agent-platform", "--text", "x", "--session", " "), "session_reference"),
        (("run", "agent-platform", "--text", "x", "--metadata", "k"), "NAME=VALUE"),
        (("agent-platform", "tools", "deploy"), "TOOL_ID"),
        (("agent-platform", "tools", "export", "good", "--save", "x", "--no-wait"), "--save"),
        (("agent-platform", "models", "deploy", "good"), "--type"),
        (("agent-platform", "models", "deploy", "good", *MODEL, *HYPER[:-1], "0"), "--top-k"),
        (
            ("agent-platform", "models", "deploy", "good", *MODEL, *HYPER, "--min-replicas", "99"),
            "--min-replicas",
        ),
        (("agent-platform", "guardrails", "deploy", "gravity"), "gravity"),
        (("agent-platform", "upload", "missing.json"), "missing.json"),
    ],
)
def test_wrong_usage_of_platform_is_2(
    cli: Any, simulator: Simulator, arguments: tuple[str, ...], word: str
) -> None:
    """A usage error is one line that names the mistake; nothing is sent."""
    found = cli(*arguments)
    assert (found.code, found.out, len(found.err.splitlines())) == (2, "", 1)
    assert word in found.err
    assert simulator.statistics().fakes["agent-platform"]["starts"] == 0


def test_missing_tools_key_is_named(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need the tools' key name the missing variable and exit with 2; runs do not need it."""
    monkeypatch.delenv("AGENT_PLATFORM_TOOLS_KEY")
    found = cli("agent-platform", "tools", "deploy", "good")
    assert (found.code, "AGENT_PLATFORM_TOOLS_KEY" in found.err) == (2, True)
    assert cli("run", "agent-platform", "--text", "good").code == 0


def test_missing_app_key_is_named(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the app's key a run is not started, and the variable is named."""
    monkeypatch.delenv("AGENT_PLATFORM_APP_KEY")
    found = cli("run", "agent-platform", "--text", "good")
    assert (found.code, "AGENT_PLATFORM_APP_KEY" in found.err) == (2, True)


@pytest.mark.parametrize("name", ["AGENT_PLATFORM_APP_KEY", "AGENT_PLATFORM_TOOLS_KEY"])
def test_wrong_key_is_5_and_not_shown(cli: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A key that is refused exits with 5 and is not shown."""
    monkeypatch.setenv(name, "wrong-key-1234")
    run = ("run", "agent-platform", "--text", "good")
    found = cli(*(run if "APP" in name else ("agent-platform", "tools", "deploy", "good")), "--json")
    assert (found.code, found.documents[-1]["error"]["type"]) == (5, "AuthenticationError")
    assert "wrong-key-1234" not in found.out + found.err


def test_unknown_tool_is_1(cli: Any) -> None:
    """An unknown tool exits with 1 and the platform's status."""
    found = cli("agent-platform", "tools", "export", "unknown", "--json")
    assert (found.code, found.documents[-1]["error"]["status"]) == (1, 404)
