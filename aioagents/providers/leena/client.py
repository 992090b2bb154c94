"""Leena AI: the client."""

from collections.abc import Coroutine, Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Final, Self

from ...calls import Account
from ...contract import (
    BatchRow,
    Endpoint,
    RunClient,
    RunReader,
    RunStarter,
    check_ref,
    check_text,
    path_segment,
)
from ...model import RunRef
from ...polling import RunHandle
from ...pool import SessionPool
from ...tracebacks import hides_locals
from .analytics import OVERLAP, Report, ReportQuery, Sync
from .refusals import read_refusal
from .settings import VENDOR, LeenaCredentials, LeenaEndpoints, region_from_env
from .wire import (
    execute_request,
    read_accepted,
    read_status,
    read_token,
    status_request,
    token_request,
)

_ADVICE: Final = (
    "Leena cannot be asked whether it began, and has no idempotency key; the total-runs report shows runs of that "
    "time about two hours later."
)


class Leena(RunClient):
    """Starts and follows AOP runs of Leena AI, and reads the total-runs report, in one region.

    Tokens are shared by all clients of the pool with the same credentials and token endpoint. `report_credentials`
    are needed where the report's scope belongs to another OAuth app. `name` distinguishes several accounts in
    references. Raises ValueError for an invalid region, endpoint or name.
    """

    vendor: ClassVar[str] = VENDOR

    def __init__(
        self,
        pool: SessionPool,
        *,
        credentials: LeenaCredentials,
        region: str | None = None,
        endpoints: LeenaEndpoints | None = None,
        report_credentials: LeenaCredentials | None = None,
        name: str = "",
    ) -> None:
        super().__init__(pool)
        self._endpoints = (endpoints or LeenaEndpoints()).completed(region)
        self._region = region
        self._endpoint = Endpoint(VENDOR, self._endpoints.address(region), name)
        self._account = self._open_account(credentials)
        same = report_credentials is None or report_credentials == credentials
        self._report_account = (
            self._account if same else self._open_account(report_credentials or credentials)
        )
        key = (VENDOR, self._endpoints.aop, credentials)
        aop_url = self._endpoints.aop or ""
        runs = RunReader(
            pool, self._account, request=lambda ref: status_request(aop_url, ref.id), read=read_status
        )
        self._source = pool.source(key, runs, VENDOR)
        self._starter = RunStarter(pool, self._account, self._source, advice=_ADVICE)

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make a client from the `LEENA_*` variables, or those of the endpoint `name`. As `RunClient.from_env`."""
        return cls(
            pool,
            credentials=LeenaCredentials.from_env(environ, name=name),
            region=region_from_env(environ, name=name),
            endpoints=LeenaEndpoints.from_env(environ, name=name),
            name=name,
        )

    async def check(self) -> None:
        """Obtain a token, or use the current one. Raises `AuthenticationError`, `TransportError`, `PoolClosed`.

        What the token permits is not checked: that would take a call that costs or fails.
        """
        self._pool.ensure_open()
        for account in {self._account, self._report_account}:
            await account.token()

    @hides_locals
    async def execute(
        self, aop_id: str, *, message: str = "", context: Mapping[str, Any] | None = None
    ) -> RunHandle:
        """Start a run of the AOP called `aop_id` (its slug or id), once, and return its handle.

        Never sent twice: the vendor has no idempotency key. Raises `StartUnknown` when the reply was lost and a run
        may have begun, `BadRequest`, `PermissionDenied` or `NotFound` when the vendor refuses, `Throttled`,
        `AuthenticationError` or `NotSent` after the attempts the pool allows, ValueError or TypeError for arguments
        that cannot be sent. If it is cancelled while the request is in flight, the start goes on and its outcome is
        emitted as the event `StartAbandoned`.
        """
        check_text(aop_id, "aop_id")
        if not isinstance(message, str):
            raise TypeError(f"message has to be a string, not {type(message).__name__}")
        request = execute_request(
            self._endpoints.aop or "", aop_id, message, {} if context is None else context
        )
        return await self._starter.start(
            request,
            lambda reply, at: read_accepted(reply, scope=self._endpoint.scope, seen_at=at),
            target=aop_id,
        )

    def start_row(self, row: BatchRow) -> Coroutine[Any, Any, RunHandle]:
        """Start a row of a batch: its target is the AOP, its input the context. As `execute`."""
        return self.execute(row.target, message=row.message, context=row.input)

    def item(self, aop_item_id: str) -> RunHandle:
        """Return the handle of a run by its id, no matter who started it. Raises ValueError for an impossible id."""
        path_segment(aop_item_id, "aop_item_id")
        return RunHandle(self._source, self._endpoint.ref(aop_item_id))

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return the handle of a run. Raises BadReference for one of another vendor or endpoint."""
        return self.item(check_ref(ref, self._endpoint).id)

    def report(
        self,
        start: date | str,
        end: date | str,
        *,
        updated_after: datetime | str | None = None,
        page_size: int = 100,
    ) -> Report:
        """Read the total-runs report: `async for row in leena.report(...)`.

        It has the runs that started from `start` to `end` (dates; their zone, and whether `end` is included, is
        undocumented), with `updated_after` only those updated strictly after it. Data lags about two hours. See
        `Report` for how pages are read. Iterating raises `ReplyError` (401 also for a missing scope),
        `TransportError`, `DecodeError`.
        """
        query = ReportQuery.of(start, end, updated_after=updated_after, page_size=page_size)
        return Report(self._pool, self._report_account, self._endpoints.report or "", query)

    def sync(
        self,
        checkpoint: Mapping[str, Any] | None = None,
        *,
        start: date | str,
        end: date | str | None = None,
        overlap: timedelta = OVERLAP,
        page_size: int = 100,
    ) -> Sync:
        """Read what is new in the report since `checkpoint`: `async for row in sync: ...; sync.checkpoint`.

        `start` has to be before the start of the oldest run that may still change; `end` is tomorrow by default. See
        `Sync` for what a checkpoint guarantees.
        """
        return Sync(
            self._pool,
            self._report_account,
            self._endpoints.report or "",
            checkpoint,
            start=start,
            end=end,
            overlap=overlap,
            page_size=page_size,
        )

    def _open_account(self, credentials: LeenaCredentials) -> Account:
        token_url = self._endpoints.token or ""

        async def fetch() -> tuple[str, float]:
            return await self._pool.caller.fetch_token(
                VENDOR, token_request(token_url, credentials), read_token, read_refusal=read_refusal
            )

        return self._pool.account(
            (VENDOR, token_url, credentials),
            name=credentials.name_at(token_url),
            vendor=VENDOR,
            fetch=fetch,
            read_refusal=read_refusal,
        )

    def __repr__(self) -> str:
        return f"<Leena {self._region or 'primary region'} at {self._endpoints.aop}>"
