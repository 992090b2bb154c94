"""Session identities: their form in requests, and in references to runs."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import BadReference, RunRef
from aioagents.contract import Endpoint
from aioagents.providers.agent_platform.identity import Identity

_ENDPOINT = Endpoint.at(
    "agent-platform", "https://kore.example.com", details={"app": "aa", "environment": "draft"}
)
_SOME = st.text(min_size=1).filter(lambda text: bool(text.strip()))


def test_order_on_the_wire() -> None:
    """Identifiers are sent in the order in which the platform tries them."""
    assert Identity.of("s-1", "chat-7", "cust-42").wire() == [
        {"type": "sessionId", "value": "s-1"},
        {"type": "sessionReference", "value": "chat-7"},
        {"type": "userReference", "value": "cust-42"},
    ]
    assert Identity.of(user_reference="cust-42", session_id="s-1").wire() == [
        {"type": "sessionId", "value": "s-1"},
        {"type": "userReference", "value": "cust-42"},
    ]


@pytest.mark.parametrize(("by_id", "by_reference", "by_user"), [*itertools.product([True, False], repeat=3)])
def test_which_requests_may_be_repeated(by_id: bool, by_reference: bool, by_user: bool) -> None:
    """With a user's reference and no session's, each request may create another session; no other one does."""
    if not (by_id or by_reference or by_user):
        with pytest.raises(
            ValueError, match="give at least one of session_id, session_reference, user_reference"
        ):
            Identity.of()
        return
    identity = Identity.of(
        "s-1" if by_id else None, "chat" if by_reference else None, "cust" if by_user else None
    )
    assert identity.is_repeatable == (by_reference or not by_user)


@pytest.mark.parametrize("name", ["session_id", "session_reference", "user_reference"])
def test_blank_identifiers(name: str) -> None:
    """A blank identifier is refused by its name."""
    with pytest.raises(ValueError, match=name):
        Identity.of(**{name: "  "})


@pytest.mark.parametrize(
    ("identity", "scope"),
    [
        (Identity("s-1"), "sessionId=s-1"),
        (Identity(None, "chat-7"), "sessionReference=chat-7"),
        (Identity(None, None, "a;b=c d%3B"), "userReference=a%3Bb=c d%253B"),
        (Identity("s-1", "chat-7", "cust-42"), "sessionId=s-1;sessionReference=chat-7"),
        (Identity(None, "chat-7", "cust-42"), "sessionReference=chat-7"),
        (Identity("s-1", None, "cust-42"), "sessionId=s-1;userReference=cust-42"),
    ],
)
def test_scope(identity: Identity, scope: str) -> None:
    """A scope has what finds the session again; the user is included only if nothing else surely would."""
    ref = _ENDPOINT.ref("r-1", identity.details())
    assert ref.scope == f"kore.example.com;app=aa;environment=draft;{scope}"
    assert RunRef.parse(str(ref)) == ref


@given(st.one_of(st.none(), _SOME), st.one_of(st.none(), _SOME), _SOME)
def test_scope_is_read_back(session_id: str | None, reference: str | None, user: str) -> None:
    """Parsing a scope returns the identity, whatever characters its identifiers have."""
    identity = Identity.of(session_id, reference, user)
    again = Identity.parse(_ENDPOINT.scope_with(identity.details()))
    assert again.details() == identity.details()
    assert (again.session_id, again.session_reference) == (session_id, reference)
    assert again.user_reference == (user if reference is None else None)


@given(st.text())
def test_scopes_that_name_no_session(scope: str) -> None:
    """Any other text is refused, or names a session."""
    pairs = []
    with contextlib.suppress(ValueError):
        pairs = Identity.parse(scope).pairs()
    assert all(value.strip() for _, value in pairs)


@pytest.mark.parametrize(
    "scope",
    [
        *("", "h", "h;dock", "h;chat-7", "h;sessionReference", "h;sessionReference=", "h;sessionId= "),
        *("h;id=1", "sessionId=s-1", "h;app=aa;environment=draft", "h;sessionId=s-1;id=1"),
    ],
)
def test_scopes_of_no_session(scope: str) -> None:
    """A scope without a known identifier and its value is refused, and the error has the form."""
    with pytest.raises(BadReference, match="names no session; the form is sessionReference="):
        Identity.parse(scope)
