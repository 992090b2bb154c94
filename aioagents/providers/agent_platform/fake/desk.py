"""The form of all replies: the vendor's spellings in turn, its ids and dates, its errors. Pure."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from attrs import frozen

from ....codec import encode_json, parse_moment
from ....contract.fake import Call, Endpoint, Refused, Route, RunPlan, make_routes
from ....model import Reply
from .rules import AgentPlatformRules

_JSON: Final = ("application/json", "application/json; charset=utf-8")
_TEXT: Final = "text/plain; charset=utf-8"

T = TypeVar("T")


@frozen(kw_only=True)
class Place:
    """Whose app it is, and where it runs."""

    app_id: str
    environment: str
    account_id: str = "acc-demo"
    env_id: str = "env-demo"
    version_id: str = "av-demo"


class Desk:
    """Where calls are answered. All chance comes from the plan's seed."""

    def __init__(self, plan: RunPlan, rules: AgentPlatformRules, place: Place) -> None:
        self.rules = rules
        self.place = place
        self.counts: Counter[str] = Counter()
        self._seed = plan.seed
        self._epoch = plan.epoch.astimezone(UTC)
        self._ids = self.chance("ids")
        self._turns: dict[str, int] = {}

    def chance(self, name: str) -> random.Random:
        """Return chance of its own for what is called so."""
        return random.Random(f"agent-platform {self._seed} {name}")  # noqa: S311 - seeded on purpose

    def turn(self, name: str, *options: T) -> T:
        """Return one of several spellings, each in its turn from one that the seed says; without quirks the first."""
        if not self.rules.quirks:
            return options[0]
        index = self._turns.get(name)
        if index is None:
            index = self.chance(f"turn {name}").randrange(len(options))
        self._turns[name] = index + 1
        return options[index % len(options)]

    def new_id(self, prefix: str) -> str:
        """Return a fresh id."""
        return prefix + str(UUID(int=self._ids.getrandbits(128), version=4))

    def new_hex(self, digits: int) -> str:
        """Return a fresh id of hex digits alone."""
        return f"{self._ids.getrandbits(4 * digits):0{digits}x}"

    def moment(self, seconds: float) -> str:
        """Return the world's second as the vendor writes dates."""
        date = self._epoch + timedelta(seconds=seconds)
        return date.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def second(self, text: str) -> float:
        """Return the world's second of a date. Raises `Refused`."""
        date = parse_moment(text)
        if date is None:
            raise Refused(400, f"{text!r} is no date")
        return (date - self._epoch).total_seconds()

    def reply(self, body: Any, status: int = 200) -> Reply:
        """Return JSON."""
        return Reply(status, {"content-type": self.turn("json", *_JSON)}, encode_json(body))

    def created(self, body: Any) -> Reply:
        """Return JSON of something new, with either status that such things have."""
        return self.reply(body, self.turn("created", 200, 201))

    def accepted(self, body: Any) -> Reply:
        """Return JSON of something begun, with either status that such things have."""
        return self.reply(body, self.turn("accepted", 200, 202))

    def refusal(self, refused: Refused, now: float) -> Reply:  # noqa: ARG002 - the signature is every world's
        """Tell a refusal in one of the forms of `rules.errors`."""
        status, text = refused.status, str(refused)
        match self.turn("errors", *self.rules.errors):
            case "empty":
                return Reply(status)
            case "text":
                return Reply(status, {"content-type": _TEXT}, text.encode())
            case "error":
                return self.reply({"error": {"code": status, "message": text}}, status)
            case "errors":
                return self.reply({"errors": [{"msg": text, "code": status}]}, status)
            case _:
                return self.reply({"message": text, "statusCode": status}, status)

    def routes(
        self,
        endpoints: Iterable[Endpoint],
        guard: Callable[[Call], None] | None,
        tell: Callable[[Refused, float], Reply] | None = None,
    ) -> tuple[Route, ...]:
        """Build routes that refuse as this desk does, unless they `tell` it otherwise."""
        return make_routes(endpoints, counts=self.counts, refuse=tell or self.refusal, guard=guard)

    def missing(self, what: str) -> Refused:
        """Return the refusal of an id that matches nothing."""
        return Refused(self.rules.unknown_status, f"{what} not found")

    def foreign(self, text: str) -> Refused:
        """Return the refusal of what is not the caller's."""
        return Refused(self.rules.foreign_status, text)

    def check_known(self, *names: str) -> None:
        """Refuse what the rules say is unknown."""
        for name in names:
            if name in self.rules.unknown:
                raise self.missing(name)
