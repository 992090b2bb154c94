"""What all handlers of the fake server share: its state, and the form of replies, ids, dates and errors. Pure."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar
from uuid import UUID

from attrs import frozen

from ....codec import encode_json, parse_moment
from ....contract.fake import Call, Endpoint, Refused, Route, RunPlan, hex_id, make_routes, seeded
from ....model import Reply
from .rules import AgentPlatformRules

_JSON: Final = ("application/json", "application/json; charset=utf-8")
_TEXT: Final = "text/plain; charset=utf-8"

T = TypeVar("T")


@frozen(kw_only=True)
class App:
    """The app that is served, its account and the environment in which it runs."""

    app_id: str
    environment: str
    account_id: str = "acc-demo"
    env_id: str = "env-demo"
    version_id: str = "av-demo"


class ServerState:
    """The rules, the app, the counters and the random numbers of one fake server.

    Everything random comes from the plan's seed. Moments are seconds of the server's clock, from 0.
    """

    def __init__(self, plan: RunPlan, rules: AgentPlatformRules, app: App, counts: Counter[str]) -> None:
        self.rules = rules
        self.app = app
        self.counts = counts
        self.plan = plan
        self._ids = self.random_for("ids")
        self._next_variants: dict[str, int] = {}

    def random_for(self, name: str) -> random.Random:
        """Return a random generator of its own for this name."""
        return seeded("agent-platform", self.plan.seed, name)

    def vary(self, name: str, *options: T) -> T:
        """Return the next of several variants, cyclically from one chosen by the seed; the first without quirks."""
        if not self.rules.quirks:
            return options[0]
        index = self._next_variants.get(name)
        if index is None:
            index = self.random_for(f"variant {name}").randrange(len(options))
        self._next_variants[name] = index + 1
        return options[index % len(options)]

    def new_id(self, prefix: str) -> str:
        """Return a new id."""
        return prefix + str(UUID(int=self._ids.getrandbits(128), version=4))

    def new_hex(self, digits: int) -> str:
        """Return a new id that consists of hexadecimal digits."""
        return hex_id(self._ids, digits)

    def format_date(self, seconds: float) -> str:
        """Return a moment as the vendor writes dates."""
        return self.plan.date(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def parse_date(self, text: str) -> float:
        """Return the moment of a date. Raises `Refused` for what is no date."""
        date = parse_moment(text)
        if date is None:
            raise Refused(400, f"{text!r} is no date")
        return (date - self.plan.epoch).total_seconds()

    def reply(self, body: Any, status: int = 200) -> Reply:
        """Return a JSON reply."""
        return Reply(status, {"content-type": self.vary("json", *_JSON)}, encode_json(body))

    def created(self, body: Any) -> Reply:
        """Return the reply to a call that created something, with status 200 or 201: the vendor documents neither."""
        return self.reply(body, self.vary("created", 200, 201))

    def accepted(self, body: Any) -> Reply:
        """Return the reply to a call that started something, with status 200 or 202: the vendor documents neither."""
        return self.reply(body, self.vary("accepted", 200, 202))

    def refusal(self, refused: Refused, now: float) -> Reply:  # noqa: ARG002 - the signature of all fakes
        """Return the reply for a refusal, in one of the forms of `rules.errors`."""
        status, text = refused.status, str(refused)
        match self.vary("errors", *self.rules.errors):
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
        refusal: Callable[[Refused, float], Reply] | None = None,
    ) -> tuple[Route, ...]:
        """Build the routes of endpoints. `refusal`, by default `self.refusal`, makes the reply for a `Refused`."""
        return make_routes(endpoints, counts=self.counts, refuse=refusal or self.refusal, guard=guard)

    def not_found(self, what: str) -> Refused:
        """Return the refusal of an id that matches nothing."""
        return Refused(self.rules.unknown_status, f"{what} not found")

    def found(self, item: T | None, what: str) -> T:
        """Return `item`, which an id was to find. Raises `Refused` for None."""
        if item is None:
            raise self.not_found(what)
        return item

    def forbidden(self, text: str) -> Refused:
        """Return the refusal of a call about something that is not the caller's."""
        return Refused(self.rules.forbidden_status, text)

    def check_known(self, *names: str) -> None:
        """Raise `Refused` if the rules list one of these names as unknown."""
        for name in names:
            if name in self.rules.unknown:
                raise self.not_found(name)
