"""AGH Runtime: values of definitions: a job's schedule, retries, fire limit and task. Pure.

The same values are sent and received. Received values are kept unchanged, unknown words included; `check_...` checks
values before they are sent, as the server does.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self, TypeAlias

from attrs import field, fields, frozen

from .checks import check_filled, check_number, check_rule, check_string, check_word
from .cron import check_cron
from .times import Duration, Moment, parse_duration, parse_moment, write_duration, write_moment

MODES: Final = ("cron", "every", "at")
STRATEGIES: Final = ("none", "backoff")
OWNER_KINDS: Final = ("human", "agent_session", "automation", "extension", "network_peer", "pool")
#: The member that each mode has; the two others have to be absent.
_MODE_MEMBERS: Final[Mapping[str, str]] = {"cron": "expr", "every": "interval", "at": "time"}
_CHANNEL: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@frozen(kw_only=True)
class Schedule:
    """When a job runs. Make one by `Schedule.cron`, `Schedule.every` or `Schedule.at`.

    `mode` is `cron`, `every` or `at`; of the others only the mode's own member is set: `expr` (five fields, read in
    the daemon's automation time zone), `interval` (a Go duration like `1h30m`) or `time` (RFC 3339). AGH automation
    API, section 5.1.
    """

    mode: str = ""
    expr: str = ""
    interval: str = ""
    time: str = ""

    # Named like the modes: `cron`, `every` and `at`.
    @classmethod
    def cron(cls, expr: str) -> Self:
        """Return the schedule of a cron expression of five fields. Raises ValueError that names the wrong one."""
        return cls(mode="cron", expr=_cron(expr, "schedule.expr"))

    @classmethod
    def every(cls, interval: Duration) -> Self:
        """Return a schedule that repeats after Go duration text, a timedelta or seconds. Raises ValueError."""
        return cls(mode="every", interval=write_duration(interval, "schedule.interval"))

    @classmethod
    def at(cls, time: Moment) -> Self:
        """Return a schedule with one run at `time`: an aware datetime or RFC 3339 text. Raises ValueError.

        The server accepts a time in the past, and never runs it.
        """
        return cls(mode="at", time=write_moment(time, "schedule.time"))

    @property
    def interval_seconds(self) -> float | None:
        """Return the interval in seconds; None where it is missing or invalid."""
        return _seconds(self.interval)

    @property
    def moment(self) -> datetime | None:
        """Return `time` as a datetime; None where it is missing or invalid."""
        try:
            return parse_moment(self.time)
        except ValueError:
            return None


@frozen(kw_only=True)
class Retry:
    """How a failed run is retried. Make one by `Retry.none` or `Retry.backoff`.

    With `backoff` there are up to `max_retries` further attempts; before retry n, counted from 1, the server waits
    `base_delay` (a Go duration) times 2**(n-1). AGH automation API, section 5.2.
    """

    strategy: str = "none"
    max_retries: int = 0
    base_delay: str = ""

    @classmethod
    def none(cls) -> Self:
        """Return the policy without retries."""
        return cls()

    @classmethod
    def backoff(cls, max_retries: int, base_delay: Duration) -> Self:
        """Return a policy of at least one retry, with doubling delays. Raises ValueError or TypeError."""
        return cls(
            strategy="backoff",
            max_retries=check_number(max_retries, "retry.max_retries", least=1),
            base_delay=write_duration(base_delay, "retry.base_delay"),
        )

    @property
    def base_seconds(self) -> float | None:
        """Return the first delay in seconds; None where it is missing or invalid."""
        return _seconds(self.base_delay)


def _window(value: Duration) -> str:
    # Text may come from the server, and is kept unchanged.
    return value if isinstance(value, str) else write_duration(value, "fire_limit.window")


@frozen
class FireLimit:
    """A limit on how many runs may begin: at most `max` within any `window`.

    `window` is Go duration text, a timedelta or seconds. The server's default is 12 within `1h`; all runs but
    canceled ones count. AGH automation API, section 5.3.
    """

    max: int = 0
    window: str = field(default="", converter=_window)

    @property
    def window_seconds(self) -> float | None:
        """Return the window in seconds; None where it is missing or invalid."""
        return _seconds(self.window)


@frozen
class TaskOwner:
    """The owner of a task: `kind` (human, agent_session, automation, extension, network_peer, pool) and `ref`."""

    kind: str = ""
    ref: str = ""


@frozen(kw_only=True)
class JobTask:
    """A task that a job creates in the task system, instead of opening an agent session itself.

    All members are optional: a blank `title` is the job's name, a blank `description` its prompt. A job with a task
    is not retried (`Retry.none`). AGH automation API, section 5.4.
    """

    title: str = ""
    description: str = field(default="", repr=False)
    network_channel: str = ""
    owner: TaskOwner | None = None


#: Accepted by requests: the values, or mappings with the members of the JSON.
ScheduleLike: TypeAlias = Schedule | Mapping[str, object]
RetryLike: TypeAlias = Retry | Mapping[str, object]
FireLimitLike: TypeAlias = FireLimit | Mapping[str, object]
JobTaskLike: TypeAlias = JobTask | Mapping[str, object]


def check_schedule(value: ScheduleLike, path: str = "schedule") -> dict[str, object]:
    """Return the JSON of a schedule. Raises ValueError or TypeError that names the member."""
    given = _members_of(value, Schedule, path)
    mode = check_word(given.get("mode", ""), f"{path}.mode", words=MODES)
    own = _MODE_MEMBERS[mode]
    for name in _MODE_MEMBERS.values():
        if name != own and given.get(name):
            raise ValueError(f"{path}.{name}: has to be left out where the mode is {mode}")
    written = _needed(given, own, path)
    write: Any = {"cron": _cron, "every": write_duration, "at": write_moment}[mode]
    return {"mode": mode, own: write(written, f"{path}.{own}")}


def check_retry(value: RetryLike, path: str = "retry") -> dict[str, object]:
    """Return the JSON of a retry policy. Raises ValueError or TypeError that names the member."""
    given = _members_of(value, Retry, path)
    strategy = check_word(given.get("strategy", ""), f"{path}.strategy", words=STRATEGIES)
    is_none = strategy == "none"
    retries = check_number(given.get("max_retries", 0), f"{path}.max_retries", least=0 if is_none else 1)
    if not is_none:
        delay = write_duration(_needed(given, "base_delay", path), f"{path}.base_delay")
        return {"strategy": strategy, "max_retries": retries, "base_delay": delay}
    for name in ("max_retries", "base_delay"):
        if given.get(name):
            raise ValueError(f"{path}.{name}: has to be left out where the strategy is none")
    return {"strategy": strategy}


def check_fire_limit(value: FireLimitLike, path: str = "fire_limit") -> dict[str, object]:
    """Return the JSON of a fire limit. Raises ValueError or TypeError that names the member."""
    given = _members_of(value, FireLimit, path)
    return {
        "max": check_number(given.get("max", 0), f"{path}.max", least=1),
        "window": write_duration(_needed(given, "window", path), f"{path}.window"),
    }


def check_task(value: JobTaskLike, path: str = "task") -> dict[str, object]:
    """Return the JSON of a task, without blank members. Raises ValueError or TypeError that names the member."""
    given = _members_of(value, JobTask, path)
    written: dict[str, object] = {
        name: check_string(given[name], f"{path}.{name}")
        for name in ("title", "description", "network_channel")
        if name in given
    }
    if "network_channel" in written and not _CHANNEL.fullmatch(given["network_channel"]):
        raise ValueError(
            f"{path}.network_channel: has to be 1 to 64 of a-z, 0-9, _ and -, the first a letter or digit"
        )
    if "owner" in given:
        owner = _members_of(given["owner"], TaskOwner, f"{path}.owner")
        written["owner"] = {
            "kind": check_word(owner.get("kind", ""), f"{path}.owner.kind", words=OWNER_KINDS),
            "ref": check_filled(owner.get("ref", ""), f"{path}.owner.ref"),
        }
    return written


def _members_of(value: object, kind: type[Any], path: str) -> dict[str, Any]:
    """Return the members that are set and not blank, of an instance of `kind` or of a mapping with its members."""
    names = [each.name for each in fields(kind)]
    given = {name: getattr(value, name) for name in names} if isinstance(value, kind) else value
    if not isinstance(given, Mapping):
        raise TypeError(f"{path}: expected {kind.__name__} or a mapping, not {type(value).__name__}")
    for name in given:
        if name not in names:
            raise ValueError(f"{path}.{name}: is unknown; the members are {', '.join(names)}")
    stripped = {name: each.strip() if isinstance(each, str) else each for name, each in given.items()}
    return {name: each for name, each in stripped.items() if each is not None and each != ""}


def _needed(given: Mapping[str, Any], name: str, path: str) -> Any:
    """Return a required member, whose type the caller checks. Raises ValueError where it is missing."""
    return given[name] if name in given else check_filled("", f"{path}.{name}")


def _cron(value: object, path: str) -> str:
    return check_rule(check_cron, check_filled(value, path), path)


def _seconds(text: str) -> float | None:
    try:
        return parse_duration(text)
    except ValueError:
        return None
