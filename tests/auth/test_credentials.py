"""Settings from the environment and the signatures made of them."""

import pytest

from aioagents.auth import basic_header, read_settings
from aioagents.model import Secret


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
