"""Which faults are drawn for which requests."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioagents.model import Purpose
from aioagents.simulator.faults import NO_FAULT, Fault, FaultKind, FaultPlan, Faults

_EXCLUSIVE = ("reset", "lost", "throttle", "error", "truncate", "garble", "slow")
_SMALL = st.floats(0, 1 / 7)


def _plan(shares: Mapping[Any, float], **more: Any) -> FaultPlan:
    return FaultPlan(**{**{str(name): share for name, share in shares.items()}, **more})


def _draw(faults: Faults, count: int = 1, call: str = "aop.status") -> list[Fault]:
    return [faults.draw(call, Purpose.POLL) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("", FaultPlan()),
        ("reset=0.05", FaultPlan(reset=0.05)),
        (" reset = 0.05 , throttle=.1, ", FaultPlan(reset=0.05, throttle=0.1)),
        ("reset=1e-3", FaultPlan(reset=0.001)),
        ("reset=0.1,reset=0.2", FaultPlan(reset=0.2)),
        ("all=0.05,slow=0", _plan(dict.fromkeys(FaultKind, 0.05), slow=0.0)),
        ("error=0.1,only=start+aop.status", FaultPlan(error=0.1, only=frozenset({"start", "aop.status"}))),
        ("error=0.1,only=", FaultPlan(error=0.1)),
        ("latency=1,delay=0.2,retry_after=3", FaultPlan(latency=1, delay=0.2, retry_after=3)),
        ("expire=0.5,expire_after=7", FaultPlan(expire=0.5, expire_after=7)),
        ("webhook_late=0.5,webhook_delay=7", FaultPlan(webhook_late=0.5, webhook_delay=7)),
    ],
)
def test_plan_is_read_from_text(text: str, plan: FaultPlan) -> None:
    """The command line's form names each share, and later entries win."""
    assert FaultPlan.parse(text) == plan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reset", "name=share"),
        ("resets=0.1", "resets"),
        ("reset=", "number"),
        ("reset=often", "number"),
        ("reset=1.5", "from 0 to 1"),
        ("reset=-0.1", "from 0 to 1"),
        ("reset=nan", "from 0 to 1"),
        ("reset=0.6,lost=0.6", "at most 1"),
        ("all=0.2", "at most 1"),
        ("webhook_lost=0.6,webhook_twice=0.6", "at most 1"),
        ("webhook_delay=-1", "0 or more"),
        ("webhook_delay=soon", "number"),
        ("delay=-1", "0 or more"),
        ("delay=inf", "0 or more"),
        ("retry_after=-1", "0 or more"),
        ("expire_after=nan", "whole number"),
        ("retry_after=0.5", "whole number"),
    ],
)
def test_bad_text_says_what_is_accepted(text: str, message: str) -> None:
    """A text that is no plan raises a ValueError that says why."""
    with pytest.raises(ValueError, match=message):
        FaultPlan.parse(text)


@given(
    shares=st.dictionaries(st.sampled_from([kind.value for kind in FaultKind]), _SMALL),
    delay=st.floats(0, 10),
    retry_after=st.integers(0, 100),
    only=st.frozensets(st.from_regex(r"[a-z][a-z_.]{0,10}", fullmatch=True), max_size=3),
)
def test_text_form_is_read_back(
    shares: dict[str, float], delay: float, retry_after: int, only: frozenset[str]
) -> None:
    """What a plan prints is read back as an equal plan."""
    plan = _plan(shares, delay=delay, retry_after=retry_after, only=only)
    assert FaultPlan.parse(str(plan)) == plan


@given(st.text(max_size=40))
def test_any_text_is_a_plan_or_a_value_error(text: str) -> None:
    """No text makes the parser raise anything but ValueError."""
    with suppress(ValueError):
        assert FaultPlan.parse(text) == FaultPlan.parse(str(FaultPlan.parse(text)))


def test_empty_plans_draw_nothing() -> None:
    """Without any share no fault is drawn."""
    faults = Faults([FaultPlan(), FaultPlan(only=frozenset({"start"}))])
    assert faults.is_empty
    assert _draw(faults) == [NO_FAULT]


@pytest.mark.parametrize("kind", _EXCLUSIVE)
def test_shares_come_out(kind: str) -> None:
    """Each fault happens to its share of the requests, next to others with theirs."""
    shares = dict.fromkeys(_EXCLUSIVE, 0.05) | {kind: 0.2}
    drawn = Counter(fault.kind for fault in _draw(Faults(_plan(shares), seed=3), 10_000))
    assert 0.18 < drawn[FaultKind(kind)] / 10_000 < 0.22
    assert 0.47 < drawn[None] / 10_000 < 0.53


def test_latency_and_expiry_are_independent() -> None:
    """Latency and expiring tokens are drawn apart from all other faults."""
    drawn = _draw(Faults(FaultPlan(latency=0.5, expire=0.5, reset=0.5, delay=2.0)), 8000)
    both = sum(fault.latency > 0 and fault.expires and fault.kind is FaultKind.RESET for fault in drawn)
    assert 0.1 < both / 8000 < 0.15
    assert all(0 <= fault.latency <= 2.0 for fault in drawn)


def test_same_seed_same_faults() -> None:
    """The n-th request of a call gets the same fault, whatever other calls come between."""
    plan = FaultPlan(reset=0.2, throttle=0.2, latency=0.3)
    alone, mixed = Faults(plan, seed=5), Faults(plan, seed=5)
    expected = _draw(alone, 50)
    seen = []
    for _ in range(50):
        mixed.draw("aop.execute", Purpose.START)
        seen += _draw(mixed)
    assert seen == expected
    assert _draw(Faults(plan, seed=6), 50) != expected


def test_one_share_does_not_shift_the_others() -> None:
    """Adding latency to a plan changes no other fault."""
    plan = FaultPlan(reset=0.2, error=0.2)
    slower = attrs.evolve(plan, latency=0.5)
    plain, late = _draw(Faults(plan), 200), _draw(Faults(slower), 200)
    assert [fault.kind for fault in plain] == [fault.kind for fault in late]
    assert [fault.status for fault in plain if fault.kind] == [fault.status for fault in late if fault.kind]


def test_which_faults_reach_the_fake_server() -> None:
    """Requests with a reset, 429 or 503 never reach the fake server; with 500, 502 and 504 some do."""
    drawn = _draw(Faults(_plan(dict.fromkeys(_EXCLUSIVE, 1 / 7))), 5000)
    reached: dict[object, set[bool]] = {}
    for fault in drawn:
        reached.setdefault(fault.status if fault.kind is FaultKind.ERROR else fault.kind, set()).add(
            fault.reaches_server
        )
    assert reached == {
        FaultKind.RESET: {False},
        FaultKind.THROTTLE: {False},
        503: {False},
        FaultKind.LOST: {True},
        FaultKind.TRUNCATE: {True},
        FaultKind.SLOW: {True},
        FaultKind.GARBLE: {True, False},
        500: {True, False},
        502: {True, False},
        504: {True, False},
    }


def test_throttling_takes_all_forms() -> None:
    """Retry-After comes in seconds, as a date, or not at all, and never beyond the plan's longest wait."""
    drawn = _draw(Faults(FaultPlan(throttle=1.0, retry_after=3)), 600)
    assert {
        form: count > 150 for form, count in Counter(fault.retry_after_form for fault in drawn).items()
    } == {
        "seconds": True,
        "date": True,
        "": True,
    }
    assert {fault.retry_after for fault in drawn} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("only", "covered"),
    [(set(), "ABC"), ({"start"}, "A"), ({"poll", "call"}, "BC"), ({"aop.status"}, "B"), ({"other"}, "")],
)
def test_plan_may_be_limited(only: set[str], covered: str) -> None:
    """A plan applies to all requests, or to those of the calls and purposes it names."""
    faults = Faults(FaultPlan(reset=1.0, only=only))
    calls = {
        "A": ("aop.execute", Purpose.START),
        "B": ("aop.status", Purpose.POLL),
        "C": ("analytics.report", Purpose.CALL),
    }
    assert "".join(name for name, call in calls.items() if faults.draw(*call).kind) == covered


def test_plan_limited_to_one_name() -> None:
    """A single name need not be put into a set."""
    assert FaultPlan(only="start") == FaultPlan(only={"start"})


def test_names_that_do_not_exist_are_refused() -> None:
    """A plan limited to an unknown call raises an error that lists the known names."""
    faults = Faults(FaultPlan(reset=0.1, only={"start", "aop.status", "aop.stats"}))
    with pytest.raises(ValueError, match=r"to aop\.stats; known are aop\.status, call, poll, start, token"):
        faults.check_names(["aop.status"])
    with pytest.raises(ValueError, match="to runs"):
        Faults(FaultPlan(webhook_lost=0.1, only="runs")).check_names(["runs.run"])


def test_several_plans_complement_each_other() -> None:
    """Of several plans the first with a fault for a request wins."""
    plans = [FaultPlan(reset=1.0, only={"start"}), FaultPlan(throttle=1.0)]
    faults = Faults(plans)
    assert faults.draw("aop.execute", Purpose.START).kind is FaultKind.RESET
    assert faults.draw("aop.status", Purpose.POLL).kind is FaultKind.THROTTLE


def test_token_serves_before_it_may_expire() -> None:
    """A token serves its least number of requests, counted anew after each request with the one before."""
    faults = Faults(FaultPlan(expire=1.0, expire_after=3))
    assert [faults.count_use("a") for _ in range(5)] == [False, False, False, True, True]
    faults.token_expired()
    assert [faults.count_use("b") for _ in range(2)] == [False, False]
    faults.token_refused()
    assert [faults.count_use("b") for _ in range(7)] == [False] * 6 + [True]


_WEBHOOK_KINDS = tuple(kind for kind in FaultKind if kind.startswith("webhook_"))


def test_webhooks_have_shares_of_their_own() -> None:
    """Each fault happens to its share of the webhooks, whatever the plan is limited to, and to no request."""
    faults = Faults(_plan(dict.fromkeys(_WEBHOOK_KINDS, 0.15), webhook_delay=3.0, only={"token"}), seed=3)
    drawn = [faults.draw_webhook(str(number)) for number in range(8000)]
    counts = Counter(fault.kind for fault in drawn)
    assert set(counts) == {*_WEBHOOK_KINDS, None}
    assert all(0.13 < counts[kind] / 8000 < 0.17 for kind in _WEBHOOK_KINDS)
    assert {fault.seconds for fault in drawn if fault.kind is FaultKind.WEBHOOK_LATE} == {3.0}
    assert {fault.seconds for fault in drawn if fault.kind is not FaultKind.WEBHOOK_LATE} == {0.0}
    assert faults.is_empty


def test_webhook_gets_the_same_fault_for_every_call() -> None:
    """The fault of a run's webhook depends on seed and id alone, not on order or requests."""
    plan = FaultPlan(webhook_lost=0.3, webhook_wrong=0.3, reset=0.5)
    faults, ids = Faults(plan, seed=5), [f"rnp_{number}" for number in range(100)]
    expected = [faults.draw_webhook(each) for each in ids]
    _draw(faults, 10)
    assert [faults.draw_webhook(each) for each in reversed(ids)] == expected[::-1]
    other = Faults(plan, seed=6)
    assert [other.draw_webhook(each) for each in ids] != expected


def test_several_plans_complement_each_other_for_webhooks() -> None:
    """Of several plans the first with a fault for a webhook wins; plans without one are skipped."""
    plans = [FaultPlan(reset=0.5), FaultPlan(webhook_lost=0.5), FaultPlan(webhook_late=1.0)]
    faults = Faults(plans)
    kinds = {faults.draw_webhook(str(number)).kind for number in range(100)}
    assert kinds == {FaultKind.WEBHOOK_LOST, FaultKind.WEBHOOK_LATE}
    assert Faults(plans[:1]).draw_webhook("any").kind is None
