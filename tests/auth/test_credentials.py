"""Settings from the environment and the signatures made of them."""

import pytest

from aioagents.auth import basic_header, endpoint_names, read_settings
from aioagents.model import Secret

_ENVIRON = {
    "X_KEY": "plain",
    "X_URL": "https://x.example",
    "X_KEY__billing": "key of billing",
    "X_KEY__eu.west-1": "k\n",
    "X_URL__old": "https://old.example",
    "X_URL__blank": "",
    "X_KEY__": "k",
    "X_KEY___a": "k",
    "X_KEY__a@b": "k",
    "X_KEYS__other": "k",
}


def test_missing_settings_are_all_named() -> None:
    """Every variable that is missing or empty is named, and no value of the others is."""
    environ = {"A": "hunter2", "B": "", "D": "d"}
    with pytest.raises(ValueError, match="not set in the environment: B, C") as caught:
        read_settings(["A", "B", "C"], ["D"], environ)
    assert "hunter2" not in str(caught.value)


def test_optional_settings_may_be_absent() -> None:
    """What is set is read; an optional one that is absent or empty is left out."""
    assert read_settings(["A"], ["B", "C"], {"A": "a", "B": "", "X": "x"}) == {"A": "a"}
    assert read_settings(iter(["A"]), iter(["B"]), {"A": "a", "B": "b"}) == {"A": "a", "B": "b"}


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping the process's own variables are read."""
    monkeypatch.setenv("AIOAGENTS_TEST_SETTING", "x")
    assert read_settings(["AIOAGENTS_TEST_SETTING"]) == {"AIOAGENTS_TEST_SETTING": "x"}


def test_basic_header() -> None:
    """User and password are joined and encoded as UTF-8 (RFC 7617)."""
    assert basic_header("Aladdin", Secret("open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_header("test", Secret("123\u00a3")) == "Basic dGVzdDoxMjPCow=="


def test_plain_settings() -> None:
    """Variables without a name are the settings of the endpoint without one."""
    assert read_settings(["X_KEY"], ["X_URL", "X_MORE"], _ENVIRON) == {
        "X_KEY": "plain",
        "X_URL": "https://x.example",
    }


def test_settings_of_a_name_are_its_own() -> None:
    """A named endpoint has nothing of the plain variables, whose key and host are another account's."""
    assert read_settings(["X_KEY"], ["X_URL"], _ENVIRON, name="billing") == {"X_KEY": "key of billing"}


@pytest.mark.parametrize(("name", "missing"), [("", "X_MORE"), ("old", "X_KEY__old, X_MORE__old")])
def test_missing_settings_are_named(name: str, missing: str) -> None:
    """The error names the variables that are missing, in full, and shows no value."""
    with pytest.raises(ValueError, match=f"not set in the environment: {missing}$"):
        read_settings(["X_KEY", "X_MORE"], environ=_ENVIRON, name=name)


def test_invalid_name() -> None:
    """A name that no reference could hold is refused."""
    with pytest.raises(ValueError, match="an endpoint's name"):
        read_settings([], ["X_KEY"], _ENVIRON, name="a@b")


@pytest.mark.parametrize(
    ("value", "read"),
    [("k\n", "k"), ("k\r\n", "k"), ("k\n\n", "k"), (" k ", " k "), ("a\nb\n", "a\nb"), ("\n", None)],
)
def test_line_breaks_at_the_end_are_dropped(value: str, read: str | None) -> None:
    """What a file of secrets ends in is no part of the value; an empty rest counts as not set."""
    assert read_settings([], ["X_KEY"], {"X_KEY": value}).get("X_KEY") == read


def test_names_in_the_environment() -> None:
    """The endpoints are those for which a variable of theirs is set."""
    assert endpoint_names(["X_KEY", "X_URL"], _ENVIRON) == ["billing", "eu.west-1", "old"]
    assert endpoint_names(["X_URL"], _ENVIRON) == ["old"]
    assert endpoint_names([], _ENVIRON) == []
