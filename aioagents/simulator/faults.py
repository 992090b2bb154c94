"""Which faults happen, and how often: a plan with a share for each, and what is drawn from it. Pure.

For the same seed, the n-th request of one call gets the same fault, whatever other calls are made between, and the
webhook of one run gets the same fault, whenever it is due. How a fault happens on the wire is in `fault_injection`.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Any, Final, Self

import attrs
from attrs import field, frozen

from ..model import Purpose


class FaultKind(StrEnum):
    """What can happen to a request or a webhook.

    Those up to `SLOW` exclude each other, and those of webhooks do too; `LATENCY` and `EXPIRE` come in addition.
    """

    RESET = "reset"  # connection reset before the request reaches the fake server
    LOST = "lost"  # the fake server handles the request, then the connection is reset without a reply
    THROTTLE = (
        "throttle"  # 429 with Retry-After as seconds, as a date, or without; never reaches the fake server
    )
    ERROR = "error"  # 500, 502 or 504, before or after the fake server acted, or 503, before
    TRUNCATE = "truncate"  # the fake server's reply, cut off in the body
    GARBLE = "garble"  # 200 with HTML, before or after the fake server acted
    GATEWAY = "gateway"  # a gateway's page or redirect in place of a reply; never reaches the fake server
    SLOW = "slow"  # the fake server's reply, its body sent slowly in small pieces
    LATENCY = "latency"  # the request is delayed first
    EXPIRE = "expire"  # the token in use expires early
    WEBHOOK_LOST = "webhook_lost"  # not sent
    WEBHOOK_TWICE = "webhook_twice"  # sent two times at once
    WEBHOOK_LATE = "webhook_late"  # sent some time after the run ended
    WEBHOOK_EARLY = "webhook_early"  # sent, for a run that ends at its start, before the reply to the start
    WEBHOOK_WRONG = "webhook_wrong"  # garbage instead of its body, or another run's id, or a false end


_EXCLUSIVE: Final = tuple(FaultKind)[: tuple(FaultKind).index(FaultKind.SLOW) + 1]
_OF_WEBHOOKS: Final = tuple(kind for kind in FaultKind if kind.name.startswith("WEBHOOK_"))
_OF_REQUESTS: Final = tuple(kind for kind in FaultKind if kind not in _OF_WEBHOOKS)
_PURPOSES: Final = frozenset(purpose.value for purpose in Purpose)
_ERRORS: Final = (500, 502, 503, 504)
_GATEWAY: Final = (302, 400, 403, 404, 421, 425)
_BEFORE_ONLY: Final = 503
_EVEN: Final = 0.5
_PATIENCE: Final = 3
_REACHING: Final = frozenset({FaultKind.LOST, FaultKind.TRUNCATE, FaultKind.SLOW})
_WHOLE: Final = ("retry_after", "expire_after")
_RETRY_AFTER_FORMS: Final = ("seconds", "date", "")


def _is_share(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} has to be a share from 0 to 1, not {value}")


def _is_amount(_: object, attribute: "attrs.Attribute[Any]", value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{attribute.name} has to be 0 or more, not {value}")


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset([names] if isinstance(names, str) else names)


def _share() -> float:
    return field(default=0.0, validator=_is_share)


@frozen(kw_only=True)
class FaultPlan:
    """The share of requests, and of webhooks, from 0 to 1, that get each fault; all others are answered normally.

    `only` limits the plan to calls (`aop.status`) and purposes (`start poll call token`); empty means all requests.
    It does not limit the faults of webhooks. `delay` is the longest latency, and how long a slow body takes;
    `retry_after` the longest wait that a 429 asks for; a late webhook is sent `webhook_delay` after its time: all in
    real seconds, whatever the simulator's speed. `expire` is the share of requests at which their token expires; but
    a token first serves `expire_after` requests, counted from the last request with the token before it, and three
    more for each of those, so that a client which renews once is accepted.
    """

    reset: float = _share()
    lost: float = _share()
    throttle: float = _share()
    error: float = _share()
    truncate: float = _share()
    garble: float = _share()
    gateway: float = _share()
    slow: float = _share()
    latency: float = _share()
    expire: float = _share()
    webhook_lost: float = _share()
    webhook_twice: float = _share()
    webhook_late: float = _share()
    webhook_early: float = _share()
    webhook_wrong: float = _share()
    delay: float = field(default=0.05, validator=_is_amount)
    retry_after: int = field(default=1, validator=_is_amount)
    expire_after: int = field(default=100, validator=_is_amount)
    webhook_delay: float = field(default=1.0, validator=_is_amount)
    only: frozenset[str] = field(default=frozenset(), converter=_names)

    def __attrs_post_init__(self) -> None:
        for kinds in (_EXCLUSIVE, _OF_WEBHOOKS):
            whole = sum(self.share(kind) for kind in kinds)
            if whole > 1 + 1e-9:
                raise ValueError(f"{', '.join(kinds)} exclude each other: together at most 1, not {whole:g}")

    def share(self, kind: FaultKind) -> float:
        """Return the share of one fault."""
        value: float = getattr(self, kind.value)
        return value

    @property
    def is_empty(self) -> bool:
        """Return whether nothing ever goes wrong."""
        return not any(self.share(kind) for kind in FaultKind)

    def covers(self, call: str, purpose: Purpose) -> bool:
        """Return whether the plan applies to this call."""
        return not self.only or call in self.only or purpose.value in self.only

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `reset=0.05,throttle=0.1,only=start+aop.status`; `all=0.05` stands for each fault.

        Later entries win. Raises ValueError that says what is accepted.
        """
        values: dict[str, Any] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (part.strip() for part in entry.partition("="))
            if not equals:
                raise ValueError(f"not a fault: {entry!r}; the form is name=share")
            if name == "only":
                values[name] = frozenset(filter(None, (part.strip() for part in value.split("+"))))
            elif name == "all":
                values.update({kind.value: _number(name, value) for kind in FaultKind})
            elif name in _WHOLE:
                values[name] = _whole(name, value)
            elif name in ("delay", "webhook_delay") or name in set(FaultKind):
                values[name] = _number(name, value)
            else:
                known = ", ".join([*FaultKind, "all", "only", "delay", *_WHOLE, "webhook_delay"])
                raise ValueError(f"no fault is called {name!r}; known are {known}")
        return cls(**values)

    def __str__(self) -> str:
        """Return the text that `parse` reads back."""
        shown = []
        for each in attrs.fields(type(self)):
            value = getattr(self, each.name)
            if value != each.default:
                shown.append(f"{each.name}={'+'.join(sorted(value)) if each.name == 'only' else repr(value)}")
        return ",".join(shown)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} has to be a number, not {text!r}") from None


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} has to be a whole number, not {text!r}") from None


@frozen(kw_only=True)
class Fault:
    """What happens to one request.

    `kind` is None when the fake server's reply is sent unchanged. `reaches_server` says whether the fake server
    handles the request, also where something else than its reply is sent. `retry_after_form` is `seconds`, `date` or
    empty for none. A slow body takes `seconds`; a truncated one is cut at `part`, a share in [0, 1).
    """

    kind: FaultKind | None = None
    latency: float = 0.0
    expires: bool = False
    status: int = 0
    reaches_server: bool = True
    retry_after_form: str = ""
    retry_after: int = 0
    seconds: float = 0.0
    part: float = 0.0


NO_FAULT: Final = Fault()


@frozen(kw_only=True)
class WebhookFault:
    """What happens to one webhook; `kind` is None where nothing does.

    It is sent `seconds` late. `part`, in [0, 1), selects one of the wrong bodies.
    """

    kind: FaultKind | None = None
    seconds: float = 0.0
    part: float = 0.0


_NO_WEBHOOK_FAULT: Final = WebhookFault()


class Faults:
    """Draws the faults of requests and webhooks from one or more plans; the first plan that has a fault wins."""

    def __init__(self, plans: FaultPlan | Sequence[FaultPlan], *, seed: int = 0) -> None:
        given = [plans] if isinstance(plans, FaultPlan) else plans
        self._plans = _drawn_from(given, _OF_REQUESTS, _EXCLUSIVE)
        self._webhook_plans = _drawn_from(given, _OF_WEBHOOKS, _OF_WEBHOOKS)
        self._seed = seed
        self._chances: dict[tuple[int, str], random.Random] = {}
        self._least_uses = max((plan.expire_after for plan, _ in self._plans if plan.expire), default=0)
        self._uses: Counter[str] = Counter()
        self._late_uses = 0

    @property
    def is_empty(self) -> bool:
        """Return whether nothing ever goes wrong with requests."""
        return not self._plans

    def check_names(self, calls: Iterable[str]) -> None:
        """Raise ValueError when a plan is limited to a name that is neither one of `calls` nor a purpose."""
        known = _PURPOSES.union(calls)
        plans = [plan for plan, _ in (*self._plans, *self._webhook_plans)]
        unknown = sorted(frozenset().union(*(plan.only for plan in plans)) - known)
        if unknown:
            raise ValueError(f"faults limited to {', '.join(unknown)}; known are {', '.join(sorted(known))}")

    def draw(self, call: str, purpose: Purpose) -> Fault:
        """Return what happens to the next request of this call."""
        for index, (plan, thresholds) in enumerate(self._plans):
            if plan.covers(call, purpose):
                chance = self._chances.get((index, call))
                if chance is None:
                    chance = random.Random(f"{self._seed}/{index}/{call}")  # noqa: S311 - seeded on purpose
                    self._chances[index, call] = chance
                fault = _draw(plan, thresholds, chance)
                if fault is not NO_FAULT:
                    return fault
        return NO_FAULT

    def draw_webhook(self, run: str) -> WebhookFault:
        """Return what happens to the webhook of this run, the same for every call."""
        for index, (plan, thresholds) in enumerate(self._webhook_plans):
            chance = random.Random(f"{self._seed}/{index}/webhook/{run}")  # noqa: S311 - seeded on purpose
            kind, part = _kind(thresholds, chance.random()), chance.random()
            if kind is not None:
                late = plan.webhook_delay if kind is FaultKind.WEBHOOK_LATE else 0.0
                return WebhookFault(kind=kind, seconds=late, part=part)
        return _NO_WEBHOOK_FAULT

    def count_use(self, authorization: str) -> bool:
        """Count a use of a token, and return whether it has served enough requests that it may expire."""
        self._uses[authorization] += 1
        return self._uses[authorization] > self._least_uses + _PATIENCE * self._late_uses

    def token_expired(self) -> None:
        """Record that a token expired: the uses of the next one are counted from 0."""
        self._uses.clear()
        self._late_uses = 0

    def token_refused(self) -> None:
        """Record that a request came with an expired token: the next token serves longer, so the retry succeeds."""
        self._late_uses += 1
        self._uses.clear()


_Thresholds = Sequence[tuple[float, FaultKind]]


def _drawn_from(
    plans: Sequence[FaultPlan], kinds: Sequence[FaultKind], exclusive: Sequence[FaultKind]
) -> Sequence[tuple[FaultPlan, _Thresholds]]:
    """Return the plans that have a share of `kinds`, with the sums by which one of the `exclusive` is drawn."""
    chosen = []
    for plan in plans:
        if any(plan.share(kind) for kind in kinds):
            drawn = [kind for kind in exclusive if plan.share(kind)]
            sums = accumulate(plan.share(kind) for kind in drawn)
            chosen.append((plan, list(zip(sums, drawn, strict=True))))
    return chosen


def _kind(thresholds: _Thresholds, number: float) -> FaultKind | None:
    return next((kind for threshold, kind in thresholds if number < threshold), None)


def _draw(plan: FaultPlan, thresholds: _Thresholds, chance: random.Random) -> Fault:
    # Each request draws the same count of numbers, used or not: a change of one share does not shift the others.
    which, late, how_late, expiry, status, reaching, form, part = (chance.random() for _ in range(8))
    kind = _kind(thresholds, which)
    latency = plan.delay * how_late if late < plan.latency else 0.0
    expires = expiry < plan.expire
    if kind is None:
        return Fault(latency=latency, expires=expires) if latency or expires else NO_FAULT
    codes = _GATEWAY if kind is FaultKind.GATEWAY else _ERRORS
    code = codes[int(status * len(codes))]
    reaches_server = kind in _REACHING
    if kind is FaultKind.GARBLE or (kind is FaultKind.ERROR and code != _BEFORE_ONLY):
        reaches_server = reaching < _EVEN
    return Fault(
        kind=kind,
        latency=latency,
        expires=expires,
        status=code,
        reaches_server=reaches_server,
        retry_after_form=_RETRY_AFTER_FORMS[int(form * len(_RETRY_AFTER_FORMS))],
        retry_after=round(plan.retry_after * part),
        seconds=plan.delay,
        part=part,
    )
