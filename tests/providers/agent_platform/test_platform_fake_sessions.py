"""The fake Agent Platform's sessions: created, found, listed in all generations, terminated."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.agent_platform.platform_fake_rig import (
    APP,
    LATER,
    PUBLIC,
    FakeClient,
    execute_body,
    fake_client,
    identify,
    read,
)

_SESSIONS = f"{APP}/sessions"
_NEWEST = f"{PUBLIC}/apps/aa-demo/sessions"


def _session(client: FakeClient, **identity: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.create(**identity)["session"]
    return answer


def test_a_new_session_has_each_spelling() -> None:
    """Over a few sessions every variant appears: status, unset members, names, with and without extras."""
    client = fake_client()
    answers = [client.create(userReference="u") for _ in range(12)]
    sessions = [each["session"] for each in answers]
    assert {session["status"] for session in sessions} == {"idle", "started"}
    assert {session["sessionReference"] for session in sessions} == {"u", None, ""}
    assert {session["userReference"] for session in sessions} == {"u"}
    assert {"source" in session for session in sessions} == {True, False}
    assert {next(iter(each["fileUploadConfig"])) for each in answers} == {"enabled", "isAttachmentsEnabled"}
    assert [each.get("output") for each in answers].count(None) == 4
    assert {event["type"] for each in answers for event in each.get("events", [])} == {"Welcome_Event"}
    assert "mle" in answers[0]["allowedMimeTypes"]
    assert len({session["sessionId"] for session in sessions}) == 12
    assert len({session["userId"] for session in sessions}) == 1


def test_creation_may_be_200_or_201() -> None:
    """A creation is answered with either status."""
    client = fake_client()
    body = {"sessionIdentity": identify(userReference="u")}
    assert {client.reply("POST", _SESSIONS, body).status for _ in range(2)} == {200, 201}


def test_creation_finds_an_existing_session() -> None:
    """With a reference or an id creation finds the session; there is no second welcome."""
    client = fake_client()
    first = _session(client, sessionReference="chat", userReference="u")
    again = [client.create(sessionReference="chat", userReference="u", now=5.0) for _ in range(3)]
    assert {each["session"]["sessionId"] for each in again} == {first["sessionId"]}
    assert {each["session"]["createdAt"] for each in again} == {first["createdAt"]}
    assert {tuple(each) for each in again} == {("session", "allowedMimeTypes", "fileUploadConfig")}
    assert _session(client, sessionId=first["sessionId"])["status"] == "idle"
    assert client.count("sessions") == 1


@pytest.mark.parametrize(
    "identity",
    [
        None,
        [],
        {},
        "chat",
        ["chat"],
        [{"type": "sessionIdentity", "value": "chat"}],
        [{"type": "sessionReference"}],
        [{"value": "chat"}],
        [{"type": "sessionReference", "value": ""}],
        [{"type": "sessionReference", "value": 7}],
        [{"type": 7, "value": "chat"}],
        identify(userReference="u") * 2,
    ],
)
@pytest.mark.parametrize("path", [_SESSIONS, f"{_SESSIONS}/terminate", f"{APP}/runs/execute"])
def test_identities_are_read_strictly(path: str, identity: Any) -> None:
    """An identity that is missing, empty, misspelled or doubled is refused, and creates no session."""
    client = fake_client()
    body = {**execute_body(), "sessionIdentity": identity}
    assert client.reply("POST", path, body).status == 400
    assert (client.count("sessions"), client.count("starts")) == (0, 0)


@pytest.mark.parametrize(("status", "rules"), [(404, {}), (409, {"unknown_status": 409})])
def test_an_id_alone_never_creates_a_session(status: int, rules: Mapping[str, Any]) -> None:
    """A session id that matches nothing is refused, unless there is another identifier."""
    client = fake_client(**rules)
    lost = {"sessionIdentity": identify(sessionId="s-0")}
    assert client.reply("POST", _SESSIONS, lost).status == status
    assert _session(client, sessionId="s-0", userReference="u")["userReference"] == "u"
    assert _session(client, sessionId="s-0", sessionReference="chat")["userReference"] == "chat"


@pytest.mark.parametrize("kind", ["sessionId", "sessionReference"])
def test_a_sessions_owner_is_checked(kind: str) -> None:
    """Another user's reference together with a matching identifier is refused, with the configured status."""
    for status in (403, 409):
        client = fake_client(forbidden_status=status)
        session = _session(client, sessionReference="chat", userReference="u")
        value = session["sessionId"] if kind == "sessionId" else "chat"
        body = {"sessionIdentity": identify(**{kind: value, "userReference": "v"})}
        assert client.reply("POST", _SESSIONS, body).status == status
        assert client.count("sessions") == 1


class _Model:
    """The vendor's rules of session resolution: open sessions are (name, reference, user), in order."""

    def __init__(self) -> None:
        self.living: list[tuple[str, str, str]] = []
        self.made = 0

    def find(self, name: str | None, reference: str | None) -> tuple[str, str, str] | None:
        """Return the session that matches by name, else the latest one that matches by reference."""
        by_name = [each for each in self.living if each[0] == name]
        by_reference = [each for each in self.living if each[1] == reference]
        return next(iter([*by_name, *by_reference[-1:]]), None)

    def resolve(self, name: str | None, reference: str | None, user: str | None) -> str | None:
        """Return the name of the session found or created, None for a refusal."""
        found = self.find(name, reference)
        if found is not None:
            return found[0] if user in (None, found[2]) else None
        if reference is None and user is None:
            return None
        made = (f"#{self.made}", reference or user or "", user or reference or "")
        self.made += 1
        self.living.append(made)
        return made[0]

    def end(self, name: str | None, reference: str | None, user: str | None) -> str | None:
        """Terminate a session and return its name, None for a refusal."""
        found = None if user is not None else self.find(name, reference)
        if found is None:
            return None
        self.living.remove(found)
        return found[0]


_NAMES = st.sampled_from(["a", "b", "c"])
_KINDS = st.sampled_from(["create", "create", "run", "end"])
_WISH = st.tuples(_KINDS, st.none() | st.integers(0, 5), st.none() | _NAMES, st.none() | _NAMES)


@given(st.lists(_WISH.filter(lambda wish: wish[1:] != (None, None, None)), max_size=16))
def test_sessions_resolve_as_a_model_says(
    wishes: list[tuple[str, int | None, str | None, str | None]],
) -> None:
    """In any sequence of creations, runs and terminations, the session is the one of the model."""
    client, model = fake_client(), _Model()
    ids: dict[str, str] = {}
    paths = {"create": _SESSIONS, "run": f"{APP}/runs/execute", "end": f"{_SESSIONS}/terminate"}
    for kind, index, reference, user in wishes:
        name = None if index is None else f"#{index}"
        session_id = None if name is None else ids.get(name, name)
        named = {"userReference": user, "sessionReference": reference, "sessionId": session_id}
        identity = identify(**{each: text for each, text in named.items() if text})
        reply = client.reply("POST", paths[kind], execute_body("at once", sessionIdentity=identity))
        expected = (model.end if kind == "end" else model.resolve)(name, reference, user)
        assert reply.is_success == (expected is not None)
        if expected is not None:
            answer = read(reply)
            found = (answer.get("session") or answer.get("sessionInfo") or answer)["sessionId"]
            assert ids.setdefault(expected, found) == found
    assert len(ids) == len(set(ids.values())) == client.count("sessions")


def test_a_user_alone_always_gets_a_new_session() -> None:
    """A user's reference alone never finds a session; as a session's reference it finds the user's latest."""
    client = fake_client()
    ids = [_session(client, userReference="u")["sessionId"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert _session(client, sessionReference="u")["sessionId"] == ids[-1]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?sessionReference=chat", 200),
        ("?sessionId={id}", 200),
        ("?sessionId={id}&sessionReference=none", 200),
        ("?sessionId=s-0&sessionReference=chat", 200),
        ("", 400),
        ("?sessionId=", 400),
        ("?userReference=u", 400),
        ("?session_id={id}", 400),
        ("?sessionReference=none", 404),
        ("?sessionId=s-0", 404),
    ],
)
def test_a_session_is_read(query: str, status: int) -> None:
    """One of two identifiers is needed; of both, the id decides if it matches."""
    client = fake_client()
    session = _session(client, sessionReference="chat", userReference="u")
    reply = client.reply("GET", _SESSIONS + query.replace("{id}", session["sessionId"]))
    assert reply.status == status
    if status == 200:
        answer = read(reply)["session"]
        assert answer["sessionId"] == session["sessionId"]
        assert (
            " ".join(answer) == "sessionId sessionReference status userId createdAt appId events attachments"
        )
        assert (answer["sessionReference"], answer["appId"], answer["status"]) == ("chat", "aa-demo", "idle")


def test_a_sessions_status_follows_its_runs() -> None:
    """A session is busy during a run, in error after a failed one, idle after one that succeeded."""
    client = fake_client()
    client.start("good", now=0.0)
    client.start("bad", now=20.0)
    client.start("at once", now=50.0)
    path = f"{_SESSIONS}?sessionReference=chat"
    for now, status in ((5.0, "busy"), (25.0, "busy"), (50.0, "idle")):
        assert client.body("GET", path, now=now)["session"]["status"] == status
    b = fake_client()
    b.start("bad")
    assert [b.body("GET", path, now=now)["session"]["status"] for now in (9.0, 10.0)] == ["busy", "error"]


def _many(count: int = 25) -> FakeClient:
    client = fake_client(quirks=False)
    for number in range(count):
        client.create(
            sessionReference=f"c{number}", userReference=f"u{number % 5}", now=60.0 * number, source="AIW"
        )
    return client


@pytest.mark.parametrize(
    ("body", "count", "paging"),
    [
        ({}, 20, (25, 20, True)),
        ({"offset": 20}, 5, (25, 25, False)),
        ({"offset": 30}, 0, (25, 25, False)),
        ({"userReference": "u1"}, 5, (5, 5, False)),
        ({"sessionId": "s-0"}, 0, (0, 0, False)),
        ({"date": {"start": "2026-01-05T09:10:00Z"}}, 15, (15, 15, False)),
        ({"date": {"start": "2026-01-05T09:10:00Z", "end": "2026-01-05T09:12:00.000Z"}}, 3, (3, 3, False)),
        ({"date": {}, "filters": [{"key": "a", "value": "b", "operator": "eq"}]}, 20, (25, 20, True)),
    ],
)
def test_sessions_are_listed_the_older_way(
    body: Mapping[str, Any], count: int, paging: tuple[int, int, bool]
) -> None:
    """The oldest list reads its filters from a body, and has pages of twenty."""
    answer = _many().body("POST", f"{_SESSIONS}/list", body, now=3000.0)
    assert len(answer["sessions"]) == count
    assert tuple(answer["pagination"].items()) == tuple(
        zip(("totalCount", "endIndex", "hasMore"), paging, strict=True)
    )
    for session in answer["sessions"]:
        assert " ".join(session) == "sessionId sessionReference status userId createdAt"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"offset": -1},
        {"offset": "0"},
        {"offset": True},
        {"date": "today"},
        {"date": {"start": "today"}},
        {"filters": [7]},
        {"userReference": 7},
    ],
)
def test_older_lists_are_read_strictly(body: Any) -> None:
    """Filters of a wrong type are refused."""
    assert _many(1).reply("POST", f"{_SESSIONS}/list", body).status == 400


@pytest.mark.parametrize(
    ("query", "references"),
    [
        ("", [f"c{number}" for number in range(20)]),
        ("?limit=2", ["c0", "c1"]),
        ("?offset=24&limit=2", ["c24"]),
        ("?offset=1&limit=1&startDate=2026-01-05T09:03:00Z", ["c4"]),
        ("?startDate=2026-01-05T09:23:00Z&endDate=2026-01-05T09:23:30Z", ["c23"]),
    ],
)
def test_sessions_are_listed_the_later_way(query: str, references: list[str]) -> None:
    """The later list has a path of its own, and its filters in the query."""
    answer = _many().body("GET", f"{LATER}/sessions/list{query}")
    assert [session["sessionReference"] for session in answer["sessions"]] == references


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "startDate=today", "endDate="])
def test_later_lists_are_read_strictly(query: str) -> None:
    """Filters that are no numbers, or no dates, are refused."""
    assert fake_client().reply("GET", f"{LATER}/sessions/list?{query}").status == 400


@pytest.mark.parametrize(
    ("query", "body", "references", "total"),
    [
        ("", {}, [f"c{number}" for number in range(20)], 25),
        ("?offset=20", {}, [f"c{number}" for number in range(20, 25)], 25),
        ("?limit=1&offset=2", {"env_name": "DRAFT"}, ["c2"], 25),
        ("", {"env_name": "prod"}, [], 0),
        ("", {"user_reference_id": "u0"}, ["c0", "c5", "c10", "c15", "c20"], 5),
        ("", {"session_reference_id": "c7"}, ["c7"], 1),
        ("", {"start_time": "2026-01-05T09:23:00Z"}, ["c23", "c24"], 2),
        ("", {"end_time": "2026-01-05T09:01:00Z"}, ["c0", "c1"], 2),
        ("", {"end_time": "2026-01-07T09:00:00Z"}, [], 0),
    ],
)
def test_sessions_are_listed_the_newest_way(
    query: str, body: Mapping[str, Any], references: list[str], total: int
) -> None:
    """The newest list has names of its own, and by default covers the day before its end."""
    answer = _many().body("POST", f"{_NEWEST}/list{query}", body, now=3000.0)
    assert [session["session_reference_id"] for session in answer["sessions"]] == references
    assert answer["total_count"] == total


def test_the_newest_list_has_ends() -> None:
    """Unset members are empty or null; the list has when sessions ended and were last active."""
    client = fake_client()
    client.create(userReference="u", now=0.0)
    client.start("good", now=10.0)
    client.body(
        "POST", f"{_SESSIONS}/terminate", {"sessionIdentity": identify(sessionReference="chat")}, now=30.0
    )
    pages = [client.body("POST", f"{_NEWEST}/list", {}, now=60.0)["sessions"] for _ in range(2)]
    first, second = pages[0]
    assert (first["session_reference_id"], first["end_time"], first["env_name"]) == ("", None, "draft")
    assert second["end_time"] == "2026-01-05T09:00:30.000Z"
    assert second["last_activity_at"] == "2026-01-05T09:00:20.000Z"
    assert {session["source"] for page in pages for session in page} == {"AP", None}


@pytest.mark.parametrize(
    ("query", "body", "rules"),
    [
        ("?limit=101", {}, {}),
        ("?limit=0", {}, {}),
        ("", {"start_time": "today"}, {}),
        ("", {"env_name": 7}, {}),
        ("", {}, {"env_name_needed": True}),
    ],
)
def test_newest_lists_are_read_strictly(
    query: str, body: Mapping[str, Any], rules: Mapping[str, Any]
) -> None:
    """Limits and dates are checked, and the environment is needed if the rules say so."""
    client = fake_client(**rules)
    client.create(userReference="u")
    assert client.reply("POST", f"{_NEWEST}/list{query}", body).status == 400


def test_a_session_is_read_the_newest_way() -> None:
    """The newest read returns a list of one, with traces and observations if included."""
    client = fake_client()
    session = _session(client, sessionReference="chat", userReference="u")
    good, endless = client.start("good"), client.start("endless")
    path = f"{_NEWEST}?session_id={session['sessionId']}"
    plain = client.body("GET", path, now=20.0)
    assert plain["pagination"] == {"page": 1, "limit": 1, "total": 1}
    (answer,) = plain["sessions"]
    assert (answer["session_reference"], answer["environment"], answer["traces"]) == ("chat", "draft", [])
    (answer,) = client.body("GET", f"{path}&include=traces", now=20.0)["sessions"]
    first, second = answer["traces"]
    assert (first["trace_id"], first["latency"], first["observations"]) == (good, 10.0, [])
    assert first["output"] == client.poll(good, now=20.0)["kwargs"]["output"]
    assert (second["trace_id"], second["latency"], second["output"]) == (endless, None, None)
    (answer,) = client.body("GET", f"{path}&include=observations&include=traces", now=20.0)["sessions"]
    assert answer["traces"][0]["observations"][0]["token_usage"] == {"input": 12, "output": 5, "total": 17}


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?sessionId=s-0", 400), ("?session_id=s-0&include=all", 400), ("?session_id=s-0", 404)],
)
def test_newest_reads_are_read_strictly(query: str, status: int) -> None:
    """The newest read needs the id, under its own name."""
    assert fake_client().reply("GET", _NEWEST + query).status == status


def test_termination_answers_flat_and_once() -> None:
    """A terminated session is returned without an envelope, sometimes with an event, and not found again."""
    client = fake_client()
    seen = []
    for number in range(2):
        session = _session(client, sessionReference=f"chat{number}", userReference="u")
        body = {"sessionIdentity": identify(sessionReference=f"chat{number}")}
        answer = client.body("POST", f"{_SESSIONS}/terminate", body)
        assert (answer["status"], answer["sessionId"]) == ("terminated", session["sessionId"])
        assert "runId" not in answer
        assert client.reply("POST", f"{_SESSIONS}/terminate", body).status == 404
        by_id = client.body("GET", f"{_SESSIONS}?sessionId={session['sessionId']}")["session"]
        assert by_id["status"] == "terminated"
        assert _session(client, sessionReference=f"chat{number}")["sessionId"] != session["sessionId"]
        seen.append([event["type"] for event in answer.get("events", [])])
    assert sorted(seen) == [[], ["End_of_Conversation"]]
    assert (client.count("terminated"), client.count("sessions")) == (2, 4)


@pytest.mark.parametrize(
    ("identity", "status"),
    [
        ({"userReference": "u"}, 400),
        ({"sessionReference": "chat", "userReference": "u"}, 400),
        ({"sessionReference": "none"}, 404),
        ({"sessionId": "s-0"}, 404),
        ({"sessionId": "s-0", "sessionReference": "chat"}, 200),
    ],
)
def test_termination_takes_no_user(identity: Mapping[str, str], status: int) -> None:
    """A session is terminated by its id or reference only; a termination never creates one."""
    client = fake_client()
    client.create(sessionReference="chat", userReference="u")
    body = {"sessionIdentity": identify(**identity)}
    assert client.reply("POST", f"{_SESSIONS}/terminate", body).status == status
    assert client.count("sessions") == 1


def test_termination_may_be_repeated_where_rules_say_so() -> None:
    """With such rules a terminated session is returned again, by id and reference, and counted once."""
    client = fake_client(terminates_again=True)
    session = _session(client, sessionReference="chat")
    for identity in (
        {"sessionReference": "chat"},
        {"sessionId": session["sessionId"]},
        {"sessionReference": "chat"},
    ):
        answer = client.body("POST", f"{_SESSIONS}/terminate", {"sessionIdentity": identify(**identity)})
        assert answer["sessionId"] == session["sessionId"]
    body = {"sessionIdentity": identify(sessionReference="none")}
    assert client.reply("POST", f"{_SESSIONS}/terminate", body).status == 404
    assert client.count("terminated") == 1


def test_a_pending_sign_in_changes_the_envelope() -> None:
    """Creation for a user with a pending sign-in returns an event and `sessionInfo`, until the sign-in."""
    client = fake_client(signins=frozenset({"u"}), sign_in_providers=("Google", "GitHub"))
    answer = client.create(userReference="u")
    assert set(answer) == {"messageId", "events", "sessionInfo", "allowedMimeTypes", "fileUploadConfig"}
    (event,) = answer["events"]
    assert event["type"] == "IDP_Redirect"
    profiles = event["content"]["auth_profiles"]
    assert [(each["idpName"], each["isAuthorized"]) for each in profiles] == [
        ("Google", False),
        ("GitHub", False),
    ]
    assert {each["sso_type"] for each in profiles} == {"oauth2"}
    assert len({each["url"] for each in profiles}) == 2
    client.fake.authorize("u", "Google")
    profiles = client.create(userReference="u")["events"][0]["content"]["auth_profiles"]
    assert [each["isAuthorized"] for each in profiles] == [True, False]
    client.fake.authorize("u")
    assert _session(client, userReference="u")["userReference"] == "u"
    assert _session(client, userReference="v")["userReference"] == "v"
    assert client.count("signins_asked") == 2
    with pytest.raises(KeyError):
        client.fake.authorize("v")
