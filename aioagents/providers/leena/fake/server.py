"""The fake server of Leena AI: its endpoints, what they refuse, and its counters."""

import base64
import binascii
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from ....contract.fake import (
    Call,
    Endpoint,
    FakeVendorWithInput,
    Refused,
    RunPlan,
    hex_id,
    json_reply,
    make_routes,
    read_object,
    refusing,
    seeded,
)
from ....model import Purpose, Reply
from .items import Items
from .report import ReportRules, report_body

AOP_SCOPE: Final = "aic.aop_execute"
REPORT_SCOPE: Final = "api.response"
_ITEM_ID: Final = re.compile(r"[0-9a-fA-F]{24}")


@frozen(kw_only=True)
class LeenaAccount:
    """An account: the credentials of its token requests, and the scopes of its tokens."""

    client_id: str = "demo-client"
    client_secret: str = field(default="demo-secret", repr=False)
    username: str = "demo-user"
    password: str = field(default="demo-password", repr=False)
    scopes: frozenset[str] = frozenset({AOP_SCOPE, REPORT_SCOPE})


@frozen(kw_only=True)
class AopRules:
    """Which AOPs do not exist, which cannot be executed, and for how long a new item is not found."""

    unknown: frozenset[str] = frozenset({"unknown_aop"})
    barred: frozenset[str] = frozenset({"barred_aop"})
    hidden_for: float = 0.0


@frozen
class _Grant:
    expires_at: float
    scopes: frozenset[str]


class FakeLeena(FakeVendorWithInput):
    """Leena AI as its facts describe it, for any region. Deterministic by the plan's seed.

    A script's words are the vendor's own; after the last step the run stays as it is. `token_lifetime` is in the
    client's seconds. Counters and ends are exact. `report` may be replaced later.
    """

    vendor = "leena"
    counters = ("reports",)

    def __init__(
        self,
        plan: RunPlan | None = None,
        *,
        accounts: Sequence[LeenaAccount] = (LeenaAccount(),),
        token_lifetime: float = 3600.0,
        aops: AopRules | None = None,
        report: ReportRules | None = None,
    ) -> None:
        super().__init__(plan)
        self._accounts = {(each.client_id, each.client_secret): each for each in accounts}
        self._first_account = accounts[0]
        self._lifetime = token_lifetime
        self._aops = AopRules() if aops is None else aops
        self.report = ReportRules() if report is None else report
        self._chance = seeded("tokens", self.plan.seed)
        self._items = Items(self.plan)
        self._grants: dict[str, _Grant] = {}
        self._failing_reports: deque[str | None] = deque()
        self._routes = make_routes(self._endpoints(), counts=self.counts, refuse=_refuse)

    def environment(self, url: str) -> Mapping[str, str]:
        """Return the `LEENA_*` variables for the first account."""
        account = self._first_account
        return {
            "LEENA_REGION": "",
            "LEENA_CLIENT_ID": account.client_id,
            "LEENA_CLIENT_SECRET": account.client_secret,
            "LEENA_USERNAME": account.username,
            "LEENA_PASSWORD": account.password,
            "LEENA_TOKEN_URL": url,
            "LEENA_AOP_URL": url,
            "LEENA_REPORT_URL": url,
        }

    def revoke(self, authorization: str) -> bool:
        """Stop accepting the token in this `Authorization` header; False when it was not accepted anyway."""
        return self._grants.pop(_bearer(authorization), None) is not None

    def revoke_all(self) -> int:
        """Stop accepting any token granted so far, and return how many there were."""
        count = len(self._grants)
        self._grants.clear()
        return count

    def ended_at(self, run_id: str) -> float | None:
        """Return the server's second at which an item ends, also before then; None for never."""
        item = self._items.find(run_id)
        return None if item is None else item.ended_at

    def fail_reports(self, count: int = 1, *, after: int = 0, message: str = "metric unavailable") -> None:
        """Answer `count` reports with `isSuccess: false`, after `after` more that succeed."""
        self._failing_reports.extend([None] * after + [message] * count)

    def _endpoints(self) -> Iterator[Endpoint]:
        items = "/api/v1/external/aop/items"
        yield "POST", "/api/v1.0/oauth/token", "oauth.token", Purpose.TOKEN, self._token
        yield "POST", "/api/v1/external/aop/execute", "aop.execute", Purpose.START, self._execute
        yield "GET", f"{items}/{{aop_item_id}}/status", "aop.status", Purpose.POLL, self._status
        yield "GET", "/api/analytics/query/external", "analytics.report", Purpose.CALL, self._report

    def _token(self, call: Call) -> Reply:
        self.counts["token_requests"] += 1
        account = self._accounts.get(_basic(call.header("authorization")))
        if account is None:
            raise Refused(401, "unknown client")
        body = read_object(call)
        body.choice("grant_type", ("password",), is_needed=True)
        # Undocumented: wrong user or password. 401, as other surfaces of the vendor have it.
        user, password = body.require("username", str), body.require("password", str)
        if (user, password) != (account.username, account.password):
            raise Refused(401, "wrong user or password")
        self._grants = {key: grant for key, grant in self._grants.items() if grant.expires_at > call.now}
        value = f"hdr.{hex_id(self._chance, 32)}.sig"
        self._grants[value] = _Grant(call.now + self._lifetime * call.speed, account.scopes)
        return json_reply(
            {
                "access_token": value,
                "token_type": "Bearer",
                "refresh_token": f"refresh-{hex_id(self._chance, 16)}",
                "expires_in": int(self._lifetime),
            }
        )

    def _permit(self, call: Call, scope: str, refusal: int) -> None:
        grant = self._grants.get(_bearer(call.header("authorization") or ""))
        if grant is None or grant.expires_at <= call.now:
            raise Refused(401, "token missing, expired or invalid")
        if scope not in grant.scopes:
            raise Refused(refusal, f"the token lacks {scope}")

    def _execute(self, call: Call) -> Reply:
        self._permit(call, AOP_SCOPE, 403)
        body = read_object(call)
        if None in (body.values.get("message_to_start", ""), body.values.get("context", {})):
            raise Refused(400, "null is no message and no context")
        target, context = body.require("aop_id", str), body.get("context", dict) or {}
        body.get("message_to_start", str)
        if target in self._aops.unknown:
            raise Refused(404, "no such AOP")
        if target in self._aops.barred:
            raise Refused(400, "this AOP cannot be executed")
        item = self._items.begin(target, call.now)
        self.count_start(context.get("key"))
        return json_reply(
            {
                "aop_item_id": item.id,
                "request_id": item.request_id,
                "run_id": None if item.index % 4 == 0 else f"ID_{item.index:06d}",
                "status": "accepted",
            }
        )

    def _status(self, call: Call) -> Reply:
        self._permit(call, AOP_SCOPE, 403)
        item_id = call.path["aop_item_id"]
        if not _ITEM_ID.fullmatch(item_id):
            raise Refused(400, "aop_item_id is badly formed")
        item = self._items.find(item_id.lower())
        if item is None or call.now < item.created_at + self._aops.hidden_for:
            raise Refused(404, "no such item")
        self.counts["polls"] += 1
        since, status = item.status_at(call.now)
        return json_reply(
            {
                "aop_item_id": item.id,
                "reference_id": f"OPS{item.index:06d}",
                "status": status,
                "initiated_at": self._naive(item.initiated_at),
                "completed_at": self._naive(since) if item.is_over(call.now) else None,
            }
        )

    def _naive(self, seconds: float) -> str:
        return self.plan.date(seconds).replace(tzinfo=None).isoformat(timespec="microseconds")

    def _report(self, call: Call) -> Reply:
        # By the vendor's facts, a missing scope is a 401 here and a 403 on the AOP endpoints.
        self._permit(call, REPORT_SCOPE, 401)
        with refusing(400):
            body = report_body(self._items, call.query, rules=self.report, now=call.now)
        self.counts["reports"] += 1
        failure = self._failing_reports.popleft() if self._failing_reports else None
        return json_reply(body if failure is None else {"isSuccess": False, "message": failure})


def make_fake(plan: RunPlan) -> FakeLeena:
    """Make the fake server that the simulator serves by default."""
    return FakeLeena(plan)


def _refuse(refused: Refused, now: float) -> Reply:  # noqa: ARG001 - the signature of every fake server
    return json_reply({"message": str(refused)}, refused.status)


def _bearer(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _basic(authorization: str | None) -> tuple[str, str]:
    scheme, _, value = (authorization or "").partition(" ")
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    client_id, _, client_secret = text.partition(":")
    return (client_id, client_secret) if scheme.lower() == "basic" else ("", "")
