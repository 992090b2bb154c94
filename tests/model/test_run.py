"""Run references, and when two observations of a run are the same."""

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.errors import BadReference
from aioagents.model import Run, RunRef, RunState

NOW = datetime(2026, 1, 5, tzinfo=UTC)
RUN = Run(ref=RunRef("leena", "", "1"), state=RunState.RUNNING, status="in_progress", seen_at=NOW)


_ANY = st.characters(exclude_categories=())  # lone surrogates too


@given(
    st.from_regex(r"\A[a-z][a-z0-9_-]*\Z"), st.text(_ANY), st.text(_ANY, min_size=1)
)  # vendors are our own words; the rest is anybody's
def test_references_round_trip(vendor: str, scope: str, run_id: str) -> None:
    """Whatever text a vendor uses for scope and id, the string form is parsed to an equal reference."""
    ref = RunRef(vendor, scope, run_id)
    assert str(ref).isascii()
    assert str(ref).isprintable()
    assert RunRef.parse(str(ref)) == ref
    assert RunRef.parse(f"  {ref}\n") == ref
    assert pickle.loads(pickle.dumps(ref)) == ref  # noqa: S301 - our own


def test_string_form_is_stable() -> None:
    """The string form that users store is the documented one."""
    assert str(RunRef("leena", "us-east-1", "0123abcd")) == "leena:us-east-1/0123abcd"
    assert str(RunRef("leena", "", "0123")) == "leena:/0123"
    assert str(RunRef("agh", "a/b:c", "x y?")) == "agh:a%2Fb:c/x%20y%3F"
    named = RunRef("leap", "billing@api.example.com:8443;bulk;a=b", "r:1@2;3=4")
    assert str(named) == "leap:billing@api.example.com:8443;bulk;a=b/r%3A1%402%3B3%3D4"


@pytest.mark.parametrize(
    "text",
    [
        *("", "leena", "leena:", "leena:x", "leena:x/", ":x/1", "leena:a/b/c", "/"),
        *(
            "leena:/\ud800",
            "leena:\udfff/1",
            "leena:/%FF",
            "leena:%C3/1",
            "\ud800:/1",
            "le na:/1",
            "lé:/1",
            "a\0:/1",
        ),
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    """A text of another form, or one that stands for no text, is refused with the form that is accepted."""
    with pytest.raises(ValueError, match="the form is vendor:scope/id") as caught:
        RunRef.parse(text)
    assert isinstance(caught.value, BadReference)
    assert str(caught.value).isprintable()


@given(st.text(_ANY))
def test_parsing_never_breaks_otherwise(text: str) -> None:
    """Any text is a reference or a ValueError."""
    try:
        ref = RunRef.parse(text)
    except BadReference:
        return
    assert str(ref).isascii()
    assert RunRef.parse(str(ref)) == ref


def test_repr_holds_no_personal_data() -> None:
    """What a run returned is not in its repr."""
    run = attrs.evolve(
        RUN, output={"mail": "a@example.com"}, raw={"x": "a@example.com"}, error="a@example.com"
    )
    assert "example.com" not in repr(run)
    assert run.id == "1"


def test_same_but_for_the_moment() -> None:
    """Two observations are the same when only their time differs."""
    assert RUN.is_same_as(attrs.evolve(RUN, seen_at=NOW + timedelta(seconds=5), raw={"n": 1}))
    assert not RUN.is_same_as(None)
    for other in (
        attrs.evolve(RUN, status="paused"),
        attrs.evolve(RUN, state=RunState.PAUSED),
        attrs.evolve(RUN, error="e"),
        attrs.evolve(RUN, output=1),
    ):
        assert not RUN.is_same_as(other)


def test_terminal_states() -> None:
    """Completed, failed and aborted are terminal; nothing else is."""
    ends = {state for state in RunState if state.is_terminal}
    assert ends == {RunState.COMPLETED, RunState.FAILED, RunState.ABORTED}
    assert pickle.loads(pickle.dumps(RunState.FAILED)).is_terminal  # noqa: S301 - our own


@pytest.mark.parametrize("depth", [10, 5000])
def test_outputs_of_any_depth_are_compared(depth: int) -> None:
    """A new poll of a deeply nested output is recognized as the same, and a difference at its bottom is seen."""

    def nested(core: Any) -> Any:
        for number in range(depth):
            core = [core] if number % 2 else {"inner": core}
        return core

    def run(output: Any) -> Run:
        return Run(ref=RunRef("v", "", "r"), state=RunState.RUNNING, status="r", output=output, seen_at=NOW)

    same, again = run(nested(1)), run(nested(1))
    assert same.is_same_as(again)
    for other in (2, [1], {}, {"a": 1}, [1, 2]):
        assert not same.is_same_as(run(nested(other)))
        assert not run(nested([3, 4])).is_same_as(run(nested([3])))
