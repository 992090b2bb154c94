"""The bodies that create and change jobs and triggers, and what is refused before."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import Secret
from aioagents.providers.agh import FireLimit, JobTask, Retry, Schedule
from aioagents.providers.agh.definitions import (
    JobChanges,
    TriggerChanges,
    job_body,
    job_changes,
    listing,
    trigger_body,
    trigger_changes,
)
from aioagents.providers.agh.templates import check_template

_SECRET = "k3y-for-docs-only"
_JOB: dict[str, Any] = {
    "scope": "global",
    "name": "nightly-digest",
    "agent_name": "writer",
    "prompt": "Summarise yesterday's changes.",
    "schedule": {"mode": "cron", "expr": "15 2 * * *"},
}
_TRIGGER: dict[str, Any] = {
    "scope": "global",
    "name": "after-session",
    "agent_name": "writer",
    "prompt": "Write it down.",
    "event": "session.stopped",
}
_WEBHOOK: dict[str, Any] = {
    **_TRIGGER,
    "event": "webhook",
    "endpoint_slug": "deploy",
    "webhook_secret_value": _SECRET,
}


def _refused(check: Any, value: Any, words: str, kind: type[Exception] = ValueError) -> None:
    with pytest.raises(kind, match=f"^{words}"):
        check(value)


# Jobs


def test_new_job() -> None:
    """A new job is sent with what was given, and without what was not."""
    assert job_body(_JOB) == _JOB
    nothing = dict.fromkeys(["workspace_id", "task", "enabled", "retry", "fire_limit"])
    assert job_body({**_JOB, **nothing}) == _JOB


def test_new_job_with_everything() -> None:
    """Values and mappings are sent alike, texts stripped."""
    given_job = {
        "scope": " workspace ",
        "workspace_id": " ws-1 ",
        "name": " triage ",
        "agent_name": "writer",
        "prompt": "\nLook.\n",
        "schedule": Schedule.every("1h30m"),
        "enabled": False,
        "retry": Retry.backoff(2, "5s"),
        "fire_limit": FireLimit(4, "1h"),
    }
    assert job_body(given_job) == {
        "scope": "workspace",
        "workspace_id": "ws-1",
        "name": "triage",
        "agent_name": "writer",
        "prompt": "Look.",
        "schedule": {"mode": "every", "interval": "1h30m"},
        "enabled": False,
        "retry": {"strategy": "backoff", "max_retries": 2, "base_delay": "5s"},
        "fire_limit": {"max": 4, "window": "1h"},
    }


@pytest.mark.parametrize("task", [{}, JobTask(), {"title": "Triage"}])
def test_new_job_with_a_task(task: Any) -> None:
    """A job with a task needs no agent and no prompt; an empty task counts as one."""
    bare = {"scope": "global", "name": "triage", "schedule": Schedule.every(60)}
    body = job_body({**bare, "agent_name": "", "prompt": " ", "task": task, "retry": Retry.none()})
    assert set(body) == {"scope", "name", "schedule", "task", "retry"}
    assert job_body({**bare, "agent_name": "a", "prompt": "p", "task": task}).keys() >= {
        "agent_name",
        "prompt",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scope": "everywhere"}, "scope: expected global or workspace, not 'everywhere'"),
        ({"scope": ""}, "scope: expected"),
        ({"scope": "workspace"}, "workspace_id: is required where the scope is workspace"),
        ({"scope": "workspace", "workspace_id": " "}, "workspace_id: is required"),
        ({"workspace_id": "ws-1"}, "workspace_id: has to be left out where the scope is global"),
        ({"name": " "}, "name: is required"),
        ({"name": None}, "name: is required"),
        ({"agent_name": ""}, "agent_name: is required"),
        ({"prompt": ""}, "prompt: is required"),
        ({"schedule": None}, "schedule: is required"),
        ({"schedule": {"mode": "cron"}}, r"schedule\.expr: "),
        ({"retry": {}}, r"retry\.strategy: "),
        ({"fire_limit": {"max": 0, "window": "1h"}}, r"fire_limit\.max: "),
        ({"task": {"owner": {}}}, r"task\.owner\.kind: "),
        (
            {"task": {}, "retry": Retry.backoff(1, 1)},
            r"retry\.strategy: has to be none where there is a task",
        ),
    ],
)
def test_new_jobs_that_cannot_be(change: Any, words: str) -> None:
    """What the server would refuse in a new job is refused before, under the member's path."""
    _refused(job_body, {**_JOB, **change}, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scope": None}, "scope: expected a string, not NoneType"),
        ({"name": 5}, "name: expected a string, not int"),
        ({"prompt": b"x"}, "prompt: expected a string, not bytes"),
        ({"enabled": 1}, "enabled: expected True or False, not int"),
        ({"workspace_id": 5}, "workspace_id: expected a string, not int"),
        ({"schedule": "15 2 * * *"}, "schedule: expected Schedule or a mapping"),
        ({"task": {}, "agent_name": 5}, "agent_name: expected a string, not int"),
    ],
)
def test_new_jobs_of_other_kinds(change: Any, words: str) -> None:
    """A member of another type raises TypeError, under its path."""
    _refused(job_body, {**_JOB, **change}, words, TypeError)


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({"name": " digest "}, {"name": "digest"}),
        ({"enabled": False}, {"enabled": False}),
        ({"agent_name": "", "prompt": ""}, {"agent_name": "", "prompt": ""}),
        ({"workspace_id": "ws-2"}, {"workspace_id": "ws-2"}),
        ({"schedule": Schedule.cron("* * * * *")}, {"schedule": {"mode": "cron", "expr": "* * * * *"}}),
        ({"task": {}}, {"task": {}}),
        ({"retry": Retry.none(), "task": {}}, {"retry": {"strategy": "none"}, "task": {}}),
        ({"fire_limit": FireLimit(1, 60)}, {"fire_limit": {"max": 1, "window": "1m"}}),
    ],
)
def test_changes_of_a_job(changes: Any, sent: Any) -> None:
    """A change is sent with what was given and nothing else: the rest stays as it is."""
    assert job_changes(changes) == sent


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "there is nothing to change; pass at least one of name, agent_name"),
        ({"name": None}, "name: the server ignores null; leave it out"),
        ({"task": None}, "task: the server ignores null"),
        ({"scope": "global"}, "scope: cannot be changed"),
        ({"name": ""}, "name: is required"),
        ({"workspace_id": " "}, "workspace_id: is required"),
        ({"schedule": {"mode": "at"}}, r"schedule\.time: "),
        ({"task": {}, "retry": Retry.backoff(1, 1)}, r"retry\.strategy: has to be none"),
    ],
)
def test_changes_of_a_job_that_cannot_be(changes: Any, words: str) -> None:
    """A change without members, or one that is invalid in itself, is refused before it is sent."""
    _refused(job_changes, changes, words)


@pytest.mark.parametrize("name", ["id", "source", "event", "Name", "next_run"])
def test_members_that_jobs_have_not(name: str) -> None:
    """A member that cannot be changed is refused as Python refuses an unknown argument."""
    _refused(job_changes, {name: "x"}, f"{name}: cannot be changed", TypeError)


# Triggers


def test_new_trigger() -> None:
    """A new trigger is sent with what was given, and without what was not; for most events without a webhook."""
    assert trigger_body(_TRIGGER) == _TRIGGER
    assert trigger_body({**_TRIGGER, "endpoint_slug": "", "webhook_id": " ", "filter": None}) == _TRIGGER


@pytest.mark.parametrize("secret", [_SECRET, Secret(_SECRET)])
@pytest.mark.parametrize("more", [{}, {"webhook_id": "wbh_mine"}])
def test_new_webhook_trigger(secret: Any, more: Any) -> None:
    """For a webhook the slug and the secret itself are sent, and the id where one was chosen."""
    body = trigger_body({**_WEBHOOK, "webhook_secret_value": secret, **more})
    assert body == {**_WEBHOOK, **more}


def test_webhook_trigger_by_its_id_alone() -> None:
    """A webhook trigger that has an id and no slug is accepted by the server, though nothing can reach it."""
    body = trigger_body({**_WEBHOOK, "endpoint_slug": "", "webhook_id": "wbh_mine"})
    assert "endpoint_slug" not in body


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ({}, {}),
        ({"kind": "webhook", "scope": "global"}, {"kind": "webhook", "scope": "global"}),
        (
            {"data.action": "deploy", " data.a.b c.d ": " x "},
            {"data.action": "deploy", "data.a.b c.d": " x "},
        ),
        ({"workspace_id": "ws-1", "source": "hook"}, {"workspace_id": "ws-1", "source": "hook"}),
    ],
)
def test_filters(written: Any, sent: Any) -> None:
    """Filters ask for the four plain keys, or for paths into the data; values are unchanged."""
    assert trigger_body({**_TRIGGER, "filter": written})["filter"] == sent
    assert trigger_changes({"filter": written}) == {"filter": sent}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"action": "deploy"}, r"filter\[action\]: expected kind, scope, source, workspace_id or data\."),
        ({"data": "x"}, r"filter\[data\]: expected"),
        ({"data.": "x"}, r"filter\[data\.\]: expected"),
        ({"data.a..b": "x"}, r"filter\[data\.a\.\.b\]: expected"),
        ({"data. .b": "x"}, r"filter\[data\. \.b\]: expected"),
        ({"Kind": "x"}, r"filter\[Kind\]: expected"),
        ({" ": "x"}, "filter key: is required"),
        ({"kind": " "}, r"filter\[kind\]: is required"),
    ],
)
def test_filters_that_cannot_be(written: Any, words: str) -> None:
    """A key that the server does not know, and a blank key or value, is refused with the key in the error."""
    _refused(trigger_body, {**_TRIGGER, "filter": written}, words)
    _refused(trigger_changes, {"filter": written}, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scope": "workspace"}, "workspace_id: "),
        ({"name": ""}, "name: "),
        ({"agent_name": " "}, "agent_name: "),
        ({"prompt": ""}, "prompt: is required"),
        ({"event": None}, "event: is required"),
        ({"event": " "}, "event: is required"),
        ({"retry": {"strategy": "linear"}}, r"retry\.strategy: "),
        ({"fire_limit": {"max": 1}}, r"fire_limit\.window: "),
        ({"prompt": "{{ .Branch }}"}, r"prompt: the template asks for \.Branch"),
        ({"endpoint_slug": "deploy"}, "endpoint_slug: has to be left out where the event is not webhook"),
        ({"webhook_id": "wbh_1"}, "webhook_id: has to be left out"),
        ({"webhook_secret_value": _SECRET}, "webhook_secret_value: has to be left out"),
        ({"event": "Webhook", "endpoint_slug": "deploy"}, "endpoint_slug: has to be left out"),
    ],
)
def test_new_triggers_that_cannot_be(change: Any, words: str) -> None:
    """What the server would refuse in a new trigger is refused before, under the member's path."""
    _refused(trigger_body, {**_TRIGGER, **change}, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"endpoint_slug": None}, "endpoint_slug: is required where the event is webhook"),
        ({"endpoint_slug": " ", "webhook_id": ""}, "endpoint_slug: is required"),
        ({"webhook_id": "mine"}, "webhook_id: has to begin with wbh_"),
        ({"webhook_secret_value": None}, "webhook_secret_value: is required where the event is webhook"),
        ({"webhook_secret_value": " \n"}, "webhook_secret_value: is required, and must not be blank"),
        ({"webhook_secret_value": Secret("")}, "webhook_secret_value: is required, and must not be blank"),
    ],
)
def test_new_webhook_triggers_that_cannot_be(change: Any, words: str) -> None:
    """A webhook needs a slug or an id, and a secret."""
    _refused(trigger_body, {**_WEBHOOK, **change}, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filter": "data.a=b"}, "filter: expected a mapping of strings, not str"),
        ({"filter": {"data.a": 5}}, r"filter\[data\.a\]: expected a string, not int"),
        ({"filter": {5: "x"}}, "filter key: expected a string, not int"),
        ({"webhook_secret_value": 5}, "webhook_secret_value: expected a string or a Secret, not int"),
        ({"endpoint_slug": 5}, "endpoint_slug: expected a string, not int"),
    ],
)
def test_new_triggers_of_other_kinds(change: Any, words: str) -> None:
    """A member of another type raises TypeError, under its path."""
    _refused(trigger_body, {**_WEBHOOK, **change}, words, TypeError)


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({"webhook_secret_value": Secret(" new ")}, {"webhook_secret_value": " new "}),
        ({"filter": {}}, {"filter": {}}),
        ({"event": "session.created"}, {"event": "session.created"}),
        ({"event": "session.created", "webhook_id": ""}, {"event": "session.created", "webhook_id": ""}),
        ({"event": "webhook"}, {"event": "webhook"}),
        ({"endpoint_slug": "ship"}, {"endpoint_slug": "ship"}),
        ({"enabled": True, "name": "n"}, {"enabled": True, "name": "n"}),
    ],
)
def test_changes_of_a_trigger(changes: Any, sent: Any) -> None:
    """A change is sent with what was given and nothing else; an empty filter clears it."""
    assert trigger_changes(changes) == sent


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "there is nothing to change"),
        ({"filter": None}, "filter: the server ignores null; leave it out"),
        ({"scope": "workspace"}, "scope: cannot be changed"),
        ({"agent_name": ""}, "agent_name: is required"),
        ({"prompt": "{{ if .Data }}"}, "prompt: the template's 'if' has no end"),
        ({"webhook_secret_value": ""}, "webhook_secret_value: is required, and must not be blank"),
        ({"webhook_id": "mine"}, "webhook_id: has to begin with wbh_"),
        ({"event": "ext.x", "endpoint_slug": "ship"}, "endpoint_slug: has to be left out"),
        ({"event": "ext.x", "webhook_secret_value": "s"}, "webhook_secret_value: has to be left out"),
        ({"retry": {"strategy": "backoff"}}, r"retry\.max_retries: "),
    ],
)
def test_changes_of_a_trigger_that_cannot_be(changes: Any, words: str) -> None:
    """What the server would answer with a masked 500 is refused before it is sent."""
    _refused(trigger_changes, changes, words)


def test_changes_are_those_of_the_types() -> None:
    """The types of changes have the members that the checks know."""
    for kind, check in ((JobChanges, job_changes), (TriggerChanges, trigger_changes)):
        with pytest.raises(ValueError, match="pass at least one of") as caught:
            check({})
        named = str(caught.value).partition("one of ")[2].split(", ")
        assert set(named) == set(kind.__annotations__)


def test_errors_do_not_show_secrets_and_prompts() -> None:
    """No error shows a secret, a prompt or a filter's value."""
    private = "someone@example.com"
    for change in (
        {"webhook_id": "mine", "webhook_secret_value": private},
        {"retry": {}, "prompt": private, "filter": {"data.mail": private}},
        {"filter": {"data.mail": 5, "kind": private}},
        {"prompt": f"{{{{ .Foo }}}} {private}"},
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            trigger_body({**_WEBHOOK, **change})
        assert private not in str(caught.value)


# Lists


def test_what_lists_are_asked_for() -> None:
    """Only given arguments are in the query."""
    assert listing(None, None, None) == {}
    asked = listing("workspace", " ws-1 ", "package")
    assert asked == {"scope": "workspace", "workspace_id": "ws-1", "source": "package"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("all", None, None), "scope: expected global or workspace"),
        ((None, "", None), "workspace_id: is required"),
        ((None, None, "file"), "source: expected config or dynamic or package"),
    ],
)
def test_lists_that_cannot_be(arguments: Any, words: str) -> None:
    """A word that the server does not know is refused before anything is sent."""
    with pytest.raises(ValueError, match=words):
        listing(*arguments)


# Templates


@pytest.mark.parametrize(
    "text",
    [
        "no template",
        "a lone }} is text",
        'Check branch {{ index .Data "branch" }}.',
        "{{ .Kind }} {{.Scope}} {{ .WorkspaceID }} {{- .Source -}} {{ .Data }} {{ .Data.a.b }}",
        "{{ . }}",
        "{{/* .Foo and {{ nothing }} */}}",
        "{{- /* .Foo */ -}}",
        "{{ if .Data }}a{{ else if eq .Kind `webhook` }}b{{ else }}c{{ end }}",
        "{{ range $key, $value := .Data }}{{ $key }}: {{ $value }}{{ end }}",
        "{{ range .Data.items }}{{ .name }}{{ end }}{{ .Kind }}",
        "{{ with .Data.repository }}{{ .owner }}{{ end }}",
        '{{ printf "%s }} %q" .Kind (index .Data "x") | len }}',
        "{{ $x := .Kind }}{{ $x }} {{ 1.5 }} {{ .5 }} {{ 'a' }} {{ -3 }}",
        '{{ define "part" }}{{ .Foo }}{{ end }}{{ template "part" .Data }}',
        "{{ index .Data `a\nb` | html }}",
        "{{ len\n.Kind }}",
    ],
)
def test_templates_that_the_server_reads(text: str) -> None:
    """Templates over the five fields are accepted, with all that Go templates can do."""
    check_template(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ .Foo }}", ".Foo, and there are .Kind, .Scope, .WorkspaceID, .Source, .Data"),
        ("{{ index .data `x` }}", "asks for .data"),
        ("{{ if .Data }}{{ .Foo }}{{ end }}", "asks for .Foo"),
        ("{{ range .Data }}{{ .x }}{{ end }}{{ .Foo }}", "asks for .Foo"),
        ("{{ with .Foo }}{{ end }}", "asks for .Foo"),
        ("{{ .Kind.x }}", ".Kind.x, and .Kind has no members"),
        ("{{ .Data", "has no end"),
        ("{{", "has no end"),
        ("{{ /* .Data ", "has no end"),
        ('{{ "x }}', "a text in the template has no end"),
        ("{{ `x }}", "a text in the template has no end"),
        ("{{ if .Data }}", "the template's 'if' has no end"),
        ("{{ with .Data }}{{ if .x }}{{ end }}", "the template's 'with' has no end"),
        ("{{ end }}", "an 'end' without a block"),
        ("{{ if .Data }}{{ end }}{{ else }}", "an 'else' without a block"),
        ("{{ upper .Kind }}", "calls 'upper'"),
        ("{{ .Kind | trim }}", "calls 'trim'"),
    ],
)
def test_templates_that_the_server_refuses(text: str, words: str) -> None:
    """A template that cannot be read, or uses an unknown field, is refused with the reason."""
    with pytest.raises(ValueError, match=re.escape(words)):
        check_template(text)


@given(st.text("{}.-/*\"'`$ \n()KindDataifend|", max_size=60))
def test_template_checks_end(text: str) -> None:
    """Any text is accepted or refused; without an opening brace pair it is always accepted."""
    try:
        check_template(text)
    except ValueError:
        assert "{{" in text
