"""Leap: the client."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Self

from ...auth import read_settings
from ...contract import (
    BatchRow,
    Endpoint,
    RunClient,
    RunReader,
    RunStarter,
    WebhookRegistration,
    account_name,
    check_base_url,
    check_ref,
    key_headers,
)
from ...model import Request, RunRef, Secret
from ...polling import RunHandle
from ...pool import SessionPool
from ...tracebacks import hides_locals
from ...webhooks import WebhookReceiver, run_reader
from .refusals import read_refusal
from .settings import BASE_URL, REQUIRED, VARIABLES, Dialect
from .states import state_of
from .wire import BULK, VENDOR, bulk_request, get_request, is_bulk_run, read_run, read_started, run_request

_ADVICE: Final = "Leap lists no runs and has no idempotency key: check its dashboard for what ran."
_READ_DELIVERY: Final = run_reader(state_of)


class Leap(RunClient):
    """Starts and follows workflow runs of Leap, single ones and bulk runs.

    `dialect` says how runs are started, see `Dialect`; `name` distinguishes several accounts in references. Raises
    ValueError for a key that is empty or invalid in a header, an unknown dialect, or a base URL that is neither https
    nor loopback (`allow_insecure` permits http).
    """

    vendor: ClassVar[str] = VENDOR

    @hides_locals
    def __init__(
        self,
        pool: SessionPool,
        *,
        api_key: str | Secret,
        base_url: str = BASE_URL,
        dialect: str = Dialect.WORKFLOWS,
        name: str = "",
        allow_insecure: bool = False,
    ) -> None:
        super().__init__(pool)
        key = Secret.of(api_key)
        headers = key_headers(key, "api_key", header="X-Api-Key", prefix="")
        self._base_url = check_base_url(base_url, "base_url", allow_insecure=allow_insecure)
        self._dialect = Dialect.of(dialect)
        self._endpoint = Endpoint.at(VENDOR, self._base_url, name)
        self._bulk_endpoint = Endpoint.at(VENDOR, self._base_url, name, details={BULK: ""})
        self._account = pool.account(
            (VENDOR, self._base_url, key),
            name=account_name(VENDOR, self._base_url, key),
            vendor=VENDOR,
            headers=headers,
            read_refusal=read_refusal,
        )
        reader = RunReader(
            pool, self._account, request=lambda ref: get_request(self._base_url, ref), read=read_run
        )
        self._source = pool.source((VENDOR, self._base_url, key), reader, VENDOR)
        self._starter = RunStarter(pool, self._account, self._source, advice=_ADVICE)

    @classmethod
    def from_env(cls, pool: SessionPool, environ: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Make a client from the `LEAP_*` variables, or those of the endpoint `name`. As `RunClient.from_env`."""
        found = read_settings(REQUIRED, VARIABLES, environ, name=name)
        return cls(
            pool,
            api_key=found["LEAP_API_KEY"],
            base_url=found.get("LEAP_BASE_URL", BASE_URL),
            dialect=found.get("LEAP_DIALECT", Dialect.WORKFLOWS),
            name=name,
        )

    async def check(self) -> None:
        """Read a run that does not exist: any answer but a refusal of the key shows that the key is good.

        Raises `AuthenticationError`, `PermissionDenied`, `ServerError`, `Throttled`, `TransportError`, `ForeignReply`
        or `DecodeError` where somebody else answers, `PoolClosed`.
        """
        self._pool.ensure_open()
        request = get_request(self._base_url, self._endpoint.ref("no-such-run"))
        await self._check_key(self._account, request)  # how an unknown run is answered is undocumented

    @hides_locals
    async def run(
        self,
        workflow_id: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        webhook_url: str | WebhookReceiver | None = None,
    ) -> RunHandle:
        """Start a run of a workflow, once, and return its handle.

        With a `WebhookReceiver` the run gets a URL of its own there: a delivery wakes the handle, and while the
        receiver works, regular polls come at the cadence's longest gap. Never sent twice: the vendor has no
        idempotency key, and each run costs credit. Raises `StartUnknown` when the reply was lost and a run may have
        begun, ValueError or TypeError for arguments that cannot be sent; refusals, `NotSent` and cancellation are as
        for `Leena.execute`.
        """
        return await self._start(
            lambda url: run_request(self._base_url, self._dialect, workflow_id, inputs, url),
            webhook_url,
            endpoint=self._endpoint,
            target=workflow_id,
        )

    @hides_locals
    async def run_bulk(
        self, workflow_id: str, input_csv_url: str, *, webhook_url: str | WebhookReceiver | None = None
    ) -> RunHandle:
        """Start one run for each row of a CSV that the vendor can fetch; `result()` returns a `BulkOutput`.

        Otherwise as `run`. The runs of a bulk run cannot be listed.
        """
        return await self._start(
            lambda url: bulk_request(self._base_url, workflow_id, input_csv_url, url),
            webhook_url,
            endpoint=self._bulk_endpoint,
            target=workflow_id,
        )

    async def start_row(self, row: BatchRow) -> RunHandle:
        """Start a row of a batch: its target is the workflow. As `run`, but raises ValueError for a message."""
        if row.message:
            raise ValueError("a Leap workflow takes inputs, and no message")
        return await self.run(row.target, row.input)

    def get(self, run_id: str) -> RunHandle:
        """Return the handle of a run by its id, no matter who started it. Raises ValueError for an impossible id."""
        return self._handle(self._endpoint.ref(run_id))

    def get_bulk(self, bulk_run_id: str) -> RunHandle:
        """Return the handle of a bulk run by its id. Raises ValueError for an impossible id."""
        return self._handle(self._bulk_endpoint.ref(bulk_run_id))

    def attach(self, ref: RunRef | str) -> RunHandle:
        """Return the handle of a run or bulk run. Raises BadReference for one of another vendor or endpoint."""
        parsed = RunRef.parse(ref) if isinstance(ref, str) else ref
        return self._handle(check_ref(parsed, self._bulk_endpoint if is_bulk_run(parsed) else self._endpoint))

    def _handle(self, ref: RunRef) -> RunHandle:
        get_request(self._base_url, ref)
        return RunHandle(self._source, ref)

    @hides_locals
    async def _start(
        self,
        build: Callable[[str | None], Request],
        webhook: str | WebhookReceiver | None,
        *,
        endpoint: Endpoint,
        target: str,
    ) -> RunHandle:
        with WebhookRegistration.to(webhook, read=_READ_DELIVERY) as registration:
            request = build(registration.url)
            return await self._starter.start(
                request,
                lambda reply, at: read_started(reply, endpoint.scope, request.call, at),
                target=target,
                registration=registration,
            )

    def __repr__(self) -> str:
        return f"<Leap at {self._base_url}, dialect {self._dialect}>"
