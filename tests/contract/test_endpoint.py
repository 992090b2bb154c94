"""Endpoints in references: what is written, what is read back, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents import BadReference, RunRef
from aioagents.contract import Endpoint, check_base_url, check_ref, details_in, endpoint_of, name_in

_ANY = st.characters(exclude_categories=())
_NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_KEYS = st.from_regex(r"\A[a-z][A-Za-z]*\Z")


def _at(url: str, name: str = "", path: str = "") -> Endpoint:
    return Endpoint.at("v", check_base_url(url, "url", allow_insecure=True), name, path=path)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://x.example", "v:x.example/1"),
        ("https://X.Example:443/", "v:x.example/1"),
        ("https://x.example:8443", "v:x.example:8443/1"),
        ("https://x.example:80", "v:x.example:80/1"),
        ("http://x.example:80", "v:x.example/1"),
        ("http://localhost:2123", "v:localhost:2123/1"),
        ("https://x.example/api/v2", "v:x.example%2Fapi%2Fv2/1"),
        ("https://x.example/a@b;c", "v:x.example%2Fa%2540b%253Bc/1"),
        ("http://[::1]:8080", "v:%5B::1%5D:8080/1"),
    ],
)
def test_addresses(url: str, text: str) -> None:
    """A reference names host, port and base path, without the scheme and its own port."""
    assert str(_at(url).ref("1")) == text
    assert _at(url).read(text) == ("1", {})


def test_usual_path_is_left_out() -> None:
    """A path that all endpoints of a vendor have is not written; any other one is."""
    assert str(_at("https://x.example/api", path="/api")) == "v:x.example"
    assert str(_at("https://x.example/other", path="/api")) == "v:x.example%2Fother"


def test_names_and_details() -> None:
    """The name comes first, the details last, those of the endpoint before those of the run."""
    endpoint = Endpoint("v", "x.example", "billing", {"app": "a b", "bulk": ""})
    ref = endpoint.ref("1", {"session": "s;1%"})
    assert ref.scope == "billing@x.example;app=a b;bulk;session=s%3B1%25"
    assert endpoint.read(str(ref)) == ("1", {"session": "s;1%"})
    assert (endpoint_of(ref), name_in(ref)) == ("billing@x.example", "billing")
    assert str(endpoint) == "v:billing@x.example;app=a%20b;bulk"


@given(_NAMES | st.just(""), st.dictionaries(_KEYS, st.text(_ANY)), st.text(_ANY, min_size=1))
def test_any_details_are_read_back(name: str, details: dict[str, str], run_id: str) -> None:
    """Whatever texts the details are, they are read back as they were, through the text of the reference."""
    endpoint = Endpoint("v", "x.example:8443", name)
    ref = endpoint.ref(run_id, details)
    assert endpoint.read(str(ref)) == (run_id, details)
    assert (details_in(ref.scope), name_in(ref)) == (details, name)


@given(st.text(_ANY), st.text(_ANY, min_size=1))
def test_other_scopes_are_refused(scope: str, run_id: str) -> None:
    """Any scope is read or refused."""
    endpoint = Endpoint("v", "x.example", "billing")
    try:
        endpoint.read(RunRef("v", scope, run_id))
    except BadReference:
        return
    assert endpoint_of(RunRef("v", scope, run_id)) == "billing@x.example"


@pytest.mark.parametrize(
    "text",
    [
        *("v:x.example/1", "v:staging@x.example/1", "v:billing@y.example/1", "v:billing@x.example:8443/1"),
        *("w:billing@x.example/1", "v:billing@x.example%2Fapi/1", "v:billing/1", "v:x.example;billing/1"),
    ],
)
def test_other_endpoints_are_refused(text: str) -> None:
    """A run of another name, host, port, path or vendor is refused with the endpoint that the client has."""
    endpoint = Endpoint("v", "x.example", "billing")
    with pytest.raises(BadReference, match=r"is not a run of v:billing@x.example$") as caught:
        check_ref(text, endpoint)
    assert (caught.value.vendor, caught.value.ref) == ("v", RunRef.parse(text))


def test_reference_without_endpoint() -> None:
    """A reference that names no endpoint is refused with the form that does."""
    with pytest.raises(BadReference, match=r"the form is v:billing@x.example/a%2Fb$"):
        check_ref("v:/a%2Fb", Endpoint("v", "x.example", "billing"))


def test_details_that_nobody_knows() -> None:
    """A detail that the endpoint does not have is refused by its name, and one that it has must be there."""
    with pytest.raises(BadReference, match=r"not a run of v:x.example: bulk, more is unknown"):
        check_ref("v:x.example;bulk;more=1/1", Endpoint("v", "x.example"))
    bulk = Endpoint("v", "x.example", details={"bulk": ""})
    assert check_ref("v:x.example;bulk/1", bulk) == bulk.ref("1")
    for text in ("v:x.example/1", "v:x.example;bulk=1/1"):
        with pytest.raises(BadReference, match=r"not a run of v:x.example;bulk"):
            check_ref(text, bulk)


@pytest.mark.parametrize("name", ["a@b", "a;b", "a/b", "a b", "-a", ".a", "_a", "é", "a\n"])
def test_names_that_are_none(name: str) -> None:
    """A name that would change what a reference says is refused."""
    with pytest.raises(ValueError, match="an endpoint's name"):
        Endpoint("v", "x.example", name)


@pytest.mark.parametrize("scope", ["", "x.example", "@x.example", "a b@x.example", "session=a@b", "x;a@b"])
def test_scopes_without_a_name(scope: str) -> None:
    """What cannot be an endpoint's name is none."""
    assert name_in(RunRef("v", scope, "1")) == ""
