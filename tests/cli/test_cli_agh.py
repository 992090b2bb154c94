"""`agh` and `run agh`: jobs, triggers, runs and webhooks of AGH Runtime on the command line."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from aioagents.cli import main
from aioagents.cli.commands import commands
from aioagents.cli.listing import cell
from aioagents.cli.output import Output
from aioagents.providers.agh.fake import DEPLOY_SECRET, DIGEST_JOB, job_id, trigger_id
from aioagents.simulator import FaultPlan, Simulator

JOB: Mapping[str, Any] = {
    "scope": "global",
    "name": "digest",
    "agent_name": "writer",
    "prompt": "Sum up.",
    "schedule": {"mode": "every", "interval": "90m"},
}
TRIGGER: Mapping[str, Any] = {
    "scope": "global",
    "name": "hook",
    "agent_name": "writer",
    "prompt": "Review.",
    "event": "webhook",
    "endpoint_slug": "hook",
    "webhook_secret_value": DEPLOY_SECRET,
}

Write = Callable[[Any], str]


@pytest.fixture
def file(tmp_path: Path) -> Write:
    """Return a function that writes a file, as JSON unless it is text, and returns its path."""

    def write(content: Any) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.txt"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def secret(file: Write) -> str:
    """Return the file with the secret of all triggers, which ends in a newline as editors write it."""
    return file(f"{DEPLOY_SECRET}\n")


def _wait_for(is_true: Callable[[], Any]) -> None:
    for _ in range(600):
        if is_true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 s")


def _endpoint(cli: Any, name: str) -> str:
    found = cli("agh", "triggers", "show", trigger_id(name)).out
    [endpoint] = [line.split()[-1] for line in found.splitlines() if line.startswith("endpoint ")]
    assert endpoint.startswith(f"{name}--wbh_")
    return str(endpoint)


def _pages(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for inner, each in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _pages(each, f"{name} {inner}")


@pytest.mark.parametrize("name", [name for name, _ in _pages(commands.commands["agh"], "agh")])
def test_help_is_complete(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each page says what the command does, what every option means, and what exit codes there are."""
    assert main([*name.split(), "--help"]) == 0
    page = capsys.readouterr().out
    command = dict(_pages(commands.commands["agh"], "agh"))[name]
    assert "Exit codes:" in page
    assert command.get_short_help_str(limit=200)
    assert all(each.help for each in command.params if isinstance(each, click.Option))
    assert max(map(len, page.splitlines())) <= 90


# Lists


def test_jobs_are_listed(cli: Any) -> None:
    """Jobs are a table, by name, with readable times; with --json each is a line as the server sends it."""
    found = cli("agh", "jobs", "list")
    heads, rule, *rows = found.out.splitlines()
    assert heads.split() == ["id", "name", "scope", "schedule", "enabled", "source", "next", "run"]
    assert set(rule) <= {"─", " "}
    assert [row.split()[1] for row in rows] == sorted(row.split()[1] for row in rows)
    assert (
        f" {DIGEST_JOB}   nightly-digest   global   cron 15 2 * * *   yes       dynamic   2026-01-06 02:15:00Z"
        in rows
    )
    documents = cli("agh", "jobs", "list", "--json").documents
    assert [each["name"] for each in documents] == [row.split()[1] for row in rows]
    assert documents[0]["schedule"]["mode"] == "cron"


def test_lists_are_filtered(cli: Any) -> None:
    """Scope, source, event and limit filter lists; words that the server does not know exit with 2."""
    assert len(cli("agh", "jobs", "list", "--limit", "2", "--scope", "global", "--json").documents) == 2
    assert cli("agh", "jobs", "list", "--source", "config", "--json").documents == []
    assert cli("agh", "triggers", "list", "--event", "session.created", "--json").documents == []
    assert len(cli("agh", "triggers", "list", "--event", "webhook", "--json").documents) == 7
    found = cli("agh", "jobs", "list", "--scope", "world")
    assert (found.code, found.err) == (2, "aioagents: scope: expected global or workspace, not 'world'\n")


def test_triggers_are_listed_with_their_endpoints(cli: Any) -> None:
    """Triggers are listed with the endpoints that deliveries use."""
    found = cli("agh", "triggers", "list")
    assert found.out.splitlines()[0].split()[4:] == ["endpoint", "enabled", "source"]
    assert _endpoint(cli, "good") in found.out


def test_runs_are_listed(cli: Any) -> None:
    """Runs of all, of one job and of one trigger are listed, the newest first, up to the limit."""
    rows = cli("agh", "runs", "list").out.splitlines()[2:]
    assert len(rows) == 30
    assert rows == sorted(rows, key=lambda row: row.split()[4:6], reverse=True)
    runs = cli("agh", "jobs", "runs", DIGEST_JOB, "--limit", "3", "--json").documents
    assert [each["id"] for each in runs] == [row.split()[0] for row in rows[:3]]
    assert cli("agh", "runs", "list", "--job", DIGEST_JOB, "--limit", "1", "--json").documents == runs[:1]
    failed = cli("agh", "runs", "list", "--status", "failed", "--limit", "0", "--json").documents
    assert {each["status"] for each in failed} == {"failed"}
    assert cli("agh", "triggers", "runs", trigger_id("good"), "--json").documents == []
    since = cli("agh", "runs", "list", "--since", runs[1]["started_at"], "--json").documents
    assert since == runs[:2]
    assert cli("agh", "runs", "list", "--until", "yesterday").code == 2
    assert cli("agh", "runs", "list", "--limit", "-1").code == 2


def test_terminal_shows_whole_ids(on_terminal: Any) -> None:
    """On a terminal of 80 columns a table leaves out some columns; ids, which people copy, are never folded."""
    code, drawn = on_terminal("agh", "runs", "list", "--job", DIGEST_JOB, "--limit", "2").finish()
    assert code == 0
    assert "attempt" not in drawn
    assert drawn.count(DIGEST_JOB) == 2
    code, drawn = on_terminal("agh", "triggers", "list").finish()
    assert code == 0
    assert "source" not in drawn
    assert all(trigger_id(name) in drawn for name in ("good", "endless", "stuck"))


def test_cells_are_readable() -> None:
    """Booleans are yes and no, absent values are a dash, and objects are JSON."""
    assert [cell(each) for each in (True, False, None, {"a": 1}, [1], 7)] == [
        "yes",
        "no",
        "-",
        '{"a":1}',
        "[1]",
        "7",
    ]


# One of them


def test_job_from_creation_to_deletion(cli: Any, file: Write) -> None:
    """A job is created, shown, changed and deleted; empty members are not shown."""
    made = cli("agh", "jobs", "create", file(JOB), "--json").documents[0]
    assert (made["name"], made["schedule"]) == ("digest", {"mode": "every", "interval": "90m"})
    shown = cli("agh", "jobs", "show", made["id"]).out
    assert 'schedule    {"mode":"every","interval":"90m"}' in shown.splitlines()
    assert "workspace_id" not in shown
    changed = cli("agh", "jobs", "update", made["id"], file({"enabled": False, "prompt": "More."}))
    assert (changed.code, "enabled     no" in changed.out, "prompt      More." in changed.out) == (
        0,
        True,
        True,
    )
    assert cli("agh", "jobs", "delete", made["id"]).out == f"deleted {made['id']}\n"
    gone = cli("agh", "jobs", "show", made["id"], "--json")
    assert (gone.code, gone.documents[0]["error"]["status"]) == (1, 404)
    assert cli("agh", "jobs", "delete", made["id"]).code == 1


def test_trigger_from_creation_to_deletion(cli: Any, file: Write) -> None:
    """A trigger is created, shown, changed and deleted, and its secret is never shown."""
    made = cli("agh", "triggers", "create", file(TRIGGER), "--json").documents[0]
    assert made["webhook_secret_present"] is True
    changes = {"filter": {"data.action": "deploy"}, "webhook_secret_value": f"{DEPLOY_SECRET}-2"}
    changed = cli("agh", "triggers", "update", made["id"], file(changes), "--json").documents[0]
    assert changed["filter"] == {"data.action": "deploy"}
    assert cli("agh", "triggers", "delete", made["id"], "--json").documents == [{"deleted": made["id"]}]


def test_definition_from_stdin(command: Any, tmp_path: Path) -> None:
    """A definition may come from a pipe."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB))
    with path.open() as stdin:
        done = command("agh", "jobs", "create", "-", "--json", stdin=stdin).finish()
    assert (done.code, done.documents[0]["name"]) == (0, "digest")


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (("jobs", "create"), {**JOB, "nmae": 1}, "nmae: is no member of a new job; there are agent_name, "),
        (("jobs", "create"), {"scope": "global"}, "name: is required"),
        (("jobs", "create"), {**JOB, "enabled": "yes"}, "enabled: expected True or False, not str"),
        (("jobs", "create"), {**JOB, "schedule": {"mode": "cron"}}, "schedule.expr: is required"),
        (("jobs", "create"), [], "expected a JSON object, not list"),
        (("jobs", "create"), "{", "not JSON at character 1"),
        (("jobs", "update", "job-1"), {"nmae": 1}, "nmae: cannot be changed"),
        (("jobs", "update", "job-1"), {"scope": "global"}, "scope: cannot be changed"),
        (("jobs", "update", "job-1"), {"name": None}, "name: the server ignores null"),
        (("jobs", "update", "job-1"), {}, "there is nothing to change"),
        (
            ("triggers", "create"),
            {**TRIGGER, "webhook_secret_value": 7},
            "webhook_secret_value: expected a string",
        ),
        (("triggers", "create"), {**TRIGGER, "event": "x"}, "endpoint_slug: has to be left out"),
        (("triggers", "create"), {**TRIGGER, "schedule": {}}, "schedule: is no member of a new trigger"),
        (("triggers", "update", "trg-1"), {"filter": {"x": "y"}}, "filter[x]: expected "),
    ],
)
def test_wrong_members_are_usage_errors(  # noqa: PLR0917 - fixtures
    cli: Any, simulator: Simulator, file: Write, arguments: tuple[str, ...], content: Any, words: str
) -> None:
    """An invalid FILE exits with 2 and names the member, in one line, before anything is sent."""
    found = cli("agh", *arguments, file(content), "--json")
    assert found.code == 2
    assert words in found.err
    assert found.err.count("\n") == 1
    assert f"see 'aioagents agh {arguments[0]} {arguments[1]} --help'" in found.err
    assert found.documents[0]["error"]["exit_code"] == 2
    assert simulator.statistics().requests == 0


def test_missing_file(cli: Any) -> None:
    """A file that cannot be read exits with 2 and its reason."""
    found = cli("agh", "triggers", "create", "nowhere.json")
    assert (found.code, "nowhere.json: No such file or directory" in found.err) == (2, True)


def test_unknown_id_is_1(cli: Any) -> None:
    """An unknown job, trigger or run exits with 1, in the server's words."""
    for arguments in (("jobs", "show"), ("jobs", "runs"), ("triggers", "show"), ("runs", "show")):
        found = cli("agh", *arguments, "nothing")
        assert found.code == 1
        assert "was answered with 404\n  the server says: no such " in found.err


def test_run_is_shown(cli: Any) -> None:
    """The record of a run is shown a member a line, and with --json as the server sends it."""
    [run] = cli("agh", "runs", "list", "--limit", "1", "--json").documents
    assert f"id          {run['id']}" in cli("agh", "runs", "show", run["id"]).out.splitlines()
    assert cli("agh", "runs", "show", run["id"], "--json").documents == [run]


# Runs


def test_run_agh_waits_for_the_end(cli: Any, simulator: Simulator) -> None:
    """`run agh` triggers the job once and follows its run to the end."""
    found = cli("run", "agh", job_id("good"), "--json")
    started, *_, ended = found.documents
    assert (found.code, ended["run"]["state"], ended["ref"]) == (0, "completed", started["ref"])
    assert started["ref"].startswith("agh:127.0.0.1:")
    assert simulator.statistics().fakes["agh"]["starts"] == 1


def test_run_agh_that_fails_is_1(cli: Any) -> None:
    """A run that fails exits with 1, though the server hides it behind a 500."""
    found = cli("run", "agh", job_id("bad"))
    assert found.code == 1
    assert "error    the agent's session ended with an error" in found.out


def test_run_agh_goes_on_with_the_task(cli: Any) -> None:
    """A delegated run is over when its task is; its output is the task's result."""
    *_, ended = cli("run", "agh", job_id("task"), "--json").documents
    assert (ended["run"]["state"], ended["run"]["output"]) == ("completed", {"answer": "tea", "score": 0.5})
    assert set(ended["run"]["raw"]) == {"run", "task_run"}


def test_run_agh_times_out_with_3(cli: Any) -> None:
    """A run that does not end in time exits with 3 and goes on."""
    found = cli("run", "agh", job_id("endless"), "--timeout", "0.2")
    assert (found.code, "it goes on" in found.err) == (3, True)


def test_status_and_wait_know_agh(cli: Any) -> None:
    """References of AGH Runtime's runs are followed by `status` and `wait` like all others."""
    ref = cli("run", "agh", job_id("good"), "--no-wait").out.strip()
    assert cli("wait", ref).code == 0
    assert "state    completed" in cli("status", ref).out
    stuck = cli("run", "agh", job_id("stuck"), "--no-wait").out.strip()
    _wait_for(lambda: "state    paused (needs_attention)" in cli("status", stuck).out)
    assert cli("wait", stuck, "--timeout", "0").code == 3


def test_no_such_job_is_1(cli: Any, simulator: Simulator) -> None:
    """An unknown job exits with 1, and nothing is started."""
    found = cli("run", "agh", "job-nothing")
    assert (found.code, "the server says: no such job" in found.err) == (1, True)
    assert "jobs.trigger" not in simulator.statistics().calls


def _limited_job(cli: Any, file: Write, window: str) -> str:
    members = {**JOB, "name": "quick", "fire_limit": {"max": 1, "window": window}}
    made = str(cli("agh", "jobs", "create", file(members), "--json").documents[0]["id"])
    assert cli("run", "agh", made).code == 0
    return made


def test_limits_show_the_next_free_slot(cli: Any, file: Write) -> None:
    """At a limit the reason and the moment of the next free slot are shown, as text and in JSON."""
    job = _limited_job(cli, file, "1000h")
    found = cli("run", "agh", job)
    assert found.code == 1
    assert "  reason: fire\n  retry at: 2026-02-" in found.err
    error = cli("run", "agh", job, "--json").documents[0]["error"]
    assert (error["type"], error["reason"], error["active"], error["limit"]) == ("Conflict", "fire", 1, 1)
    assert error["retry_at"].startswith("2026-02-")


def test_waiting_for_a_slot(cli: Any, file: Write) -> None:
    """With `--wait-for-slot` the command waits until the limit has a free slot."""
    job = _limited_job(cli, file, "60s")
    assert cli("run", "agh", job, "--wait-for-slot").code == 0


@pytest.mark.parametrize("faults", [FaultPlan(lost=1.0, only=frozenset({"jobs.trigger"}))])
def test_lost_trigger_is_found(cli: Any, simulator: Simulator) -> None:
    """A trigger whose answer is lost is found in the history, and not sent again."""
    assert cli("run", "agh", job_id("good")).code == 0
    assert simulator.statistics().calls["jobs.trigger"] == 1


# Webhooks


def test_delivery_waits_for_the_end(cli: Any, secret: str) -> None:
    """A delivery is shown with its run, which has ended by then."""
    endpoint = _endpoint(cli, "good")
    found = cli("agh", "deliver", endpoint, "--secret-file", secret, "--body", '{"a": 1}')
    assert found.code == 0
    delivery, run = found.out.splitlines()
    assert delivery.startswith("delivery ")
    assert delivery.endswith(": matched 1")
    assert run.startswith("completed  agh:127.0.0.1:")
    assert "/run_wbh_" in run
    options = ("--delivery-id", "d-1", "--trigger", trigger_id("good"), "--json")
    [document] = cli("agh", "deliver", endpoint, "--secret-file", secret, *options).documents
    assert (document["delivery_id"], document["matched"], document["is_replay"]) == ("d-1", 1, False)
    assert document["run"]["state"] == "completed"


def test_delivery_of_a_file(cli: Any, file: Write, secret: str, simulator: Simulator) -> None:
    """`--body @FILE` delivers a file's bytes; a body that the filter rejects matches nothing, and exits with 0."""
    made = cli(
        "agh",
        "triggers",
        "create",
        file({**TRIGGER, "name": "quick", "filter": {"data.action": "deploy"}}),
        "--json",
    ).documents[0]
    arguments = ("agh", "deliver", f"hook--{made['webhook_id']}", "--secret-file", secret, "--body")
    assert "matched 1" in cli(*arguments, f"@{file({'action': 'deploy'})}").out
    found = cli(*arguments, f"@{file({'action': 'sleep'})}")
    assert (found.code, found.out.endswith(": matched 0\n")) == (0, True)
    assert simulator.statistics().fakes["agh"]["starts"] == 1


def test_delivery_whose_run_fails(cli: Any, secret: str) -> None:
    """A run that fails exits with 1 if the trigger is named; else it is unknown: 4, with advice."""
    arguments = ("agh", "deliver", _endpoint(cli, "bad"), "--secret-file", secret)
    found = cli(*arguments, "--trigger", trigger_id("bad"))
    assert found.code == 1
    assert re.search(r"failed     agh:127\.0\.0\.1:\d+/run_wbh_", found.out)
    assert "error      the agent's session ended with an error" in found.out
    unknown = cli(*arguments)
    assert (unknown.code, "Deliver it again with delivery_id=" in unknown.err) == (4, True)


@pytest.mark.parametrize("speed", [1.0])
def test_repeated_delivery(cli: Any, secret: str) -> None:
    """A repeated delivery is reported as such, starts nothing, and ends with the run of the first one."""
    arguments = ("agh", "deliver", _endpoint(cli, "quick"), "--secret-file", secret, "--delivery-id", "d-1")
    first = cli(*arguments, "--json").documents[0]
    again = cli(*arguments)
    assert (again.code, again.out) == (0, "delivery d-1: had arrived before\n")
    known = cli(*arguments, "--trigger", trigger_id("quick"), "--json").documents[0]
    assert (known["is_replay"], known["run"]["id"]) == (True, first["run"]["id"])


@pytest.mark.parametrize("speed", [1.0])
def test_repeated_delivery_of_a_run_that_goes_on(
    command: Any, cli: Any, secret: str, simulator: Simulator
) -> None:
    """A repeated delivery waits for the run of the first one, up to its timeout."""
    trigger = trigger_id("endless")
    options = ("--secret-file", secret, "--delivery-id", "d-1", "--trigger", trigger)
    arguments = ("agh", "deliver", _endpoint(cli, "endless"), *options)
    command(*arguments)
    _wait_for(lambda: simulator.statistics().fakes["agh"].get("deliveries"))
    found = cli(*arguments, "--timeout", "0.5")
    assert (found.code, "did not end within 0.5 s; last seen as running" in found.err) == (3, True)


def test_wrong_secret_is_5(cli: Any, file: Write) -> None:
    """A wrong secret exits with 5."""
    found = cli("agh", "deliver", _endpoint(cli, "good"), "--secret-file", file("another"))
    assert (found.code, "signature" in found.err, "another" in found.err) == (5, True, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("good--wbh_1",), "Missing option '--secret-file'"),
        (("good--wbh_1", "--secret-file", "nowhere.txt"), "nowhere.txt: No such file or directory"),
        (("good--wbh_1", "--secret-file", "{blank}"), "holds no secret"),
        (("good--wbh_1", "--secret-file", "{bytes}"), "not UTF-8"),
        (("good", "--secret-file", "{secret}"), "endpoint: expected <endpoint_slug>--wbh_<id>, not 'good'"),
        (("good--wbh_1", "--secret-file", "{secret}", "--body", "@nowhere"), "nowhere: No such file"),
        (("good--wbh_1", "--secret-file", "-", "--body", "@-"), "stdin holds the secret already"),
        (("good--wbh_1", "--secret-file", "{secret}", "--timeout", "0"), "0.0 is not in the range x>0"),
        (("good--wbh_1", "--secret-file", "{secret}", "--delivery-id", "é"), "has to be printable ASCII"),
    ],
)
def test_invalid_deliveries(  # noqa: PLR0917 - fixtures
    cli: Any, simulator: Simulator, tmp_path: Path, file: Write, arguments: tuple[str, ...], words: str
) -> None:
    """Invalid arguments exit with 2, before anything is sent."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    files = {"blank": file(" \n"), "bytes": str(tmp_path / "bytes"), "secret": file(DEPLOY_SECRET)}
    found = cli("agh", "deliver", *(each.format(**files) for each in arguments))
    assert (found.code, words in found.err) == (2, True), found.err
    assert simulator.statistics().requests == 0


def test_secret_through_a_pipe(command: Any, cli: Any, secret: str) -> None:
    """The secret may come from a pipe."""
    with Path(secret).open() as stdin:
        done = command("agh", "deliver", _endpoint(cli, "good"), "--secret-file", "-", stdin=stdin).finish()
    assert done.code == 0


def test_timeout_cancels_the_run(cli: Any, secret: str) -> None:
    """After `--timeout` the connection is closed, and the run is canceled: exit code 1 if it is known."""
    arguments = ("agh", "deliver", _endpoint(cli, "endless"), "--secret-file", secret, "--timeout", "0.5")
    found = cli(*arguments, "--trigger", trigger_id("endless"))
    assert found.code == 1
    assert re.search(r"canceled   agh:127\.0\.0\.1:\d+/run_wbh_", found.out)
    assert cli(*arguments).code == 4


def test_ctrl_c_cancels_the_run(command: Any, cli: Any, secret: str, simulator: Simulator) -> None:
    """After Ctrl-C the command says that the server cancels the run, which it does; nothing stays pending."""
    trigger = trigger_id("endless")
    arguments = ("--secret-file", secret, "--trigger", trigger, "--json")
    running = command("agh", "deliver", _endpoint(cli, "endless"), *arguments)
    _wait_for(lambda: simulator.statistics().calls.get("webhooks.deliver"))
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    assert "The connection is closed, by which the server cancels the run of this delivery." in done.err
    [unknown] = done.documents[-1]["unknown"]
    assert "the server cancels the run" in unknown["advice"]
    _wait_for(lambda: '"canceled"' in cli("agh", "triggers", "runs", trigger, "--json").out)


@pytest.mark.parametrize("faults", [FaultPlan.parse("latency=1,delay=60,only=jobs.create")])
def test_ctrl_c_while_a_job_is_created(command: Any, file: Write, simulator: Simulator) -> None:
    """Ctrl-C during a creation reports that its outcome is unknown, and how to find out."""
    running = command("agh", "jobs", "create", file(JOB))
    _wait_for(lambda: simulator.statistics().calls.get("jobs.create"))
    running.signal(signal.SIGINT)
    done = running.finish()
    assert done.code == 130
    assert "unknown: whether what was sent for digest at 20" in done.err
    assert " created a job\n    List the jobs and look for one of this name" in done.err


# Around


def test_doctor_knows_agh(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` asks whether the daemon is serving."""
    found = cli("doctor", "agh")
    assert found.code == 0
    assert "AGH Runtime (agh)\n  set      AGH_BASE_URL\n" in found.out
    monkeypatch.setenv("AGH_BASE_URL", "http://example.com")
    assert "WRONG    settings: base_url: http to example.com " in cli("doctor", "agh").out


def test_simulate_serves_agh(command: Any) -> None:
    """`simulate` prints the URL of its AGH Runtime, which has jobs to trigger."""
    serving = command("simulate", "--json")
    environment = json.loads(serving.line())
    done = command(
        "agh", "jobs", "list", "--json", env={"AGH_BASE_URL": environment["AGH_BASE_URL"]}
    ).finish()
    assert [each["name"] for each in done.documents] == ["branch-review", "flaky-import", "nightly-digest"]
    serving.signal(signal.SIGINT)
    assert serving.process.wait(timeout=30) == 0


def test_given_secrets_are_hidden() -> None:
    """A secret that a command was given is masked in a server's words, unless it is too short to be one."""
    out = Output(hidden=[DEPLOY_SECRET, "", "a"])
    assert out.hide(f"a secret {DEPLOY_SECRET}") == "a secret ***"
