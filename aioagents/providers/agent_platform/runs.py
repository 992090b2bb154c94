"""Kore Agent Platform: runs of an app: synchronous, in the background, or streamed."""

import secrets
from collections.abc import Mapping
from typing import Any, Final, Unpack

from ...calls import Start, StartRequest
from ...contract import (
    Endpoint,
    RunReader,
    RunStarter,
    WebhookRegistration,
    check_header_value,
    check_webhook_url,
)
from ...model import RunRef, Secret
from ...polling import RunHandle
from ...tracebacks import hides_locals
from ...webhooks import WebhookReceiver
from .calls import Calls, require_authorized
from .identity import Identity
from .options import Input, RunOptions, StreamMode, execute_body, identity_of, stream_member
from .run_wire import (
    execute_request,
    read_delivery,
    read_run,
    read_started,
    reply_in,
    shown_body,
    status_request,
)
from .settings import APP, VENDOR
from .stream import RunStream
from .values import Answer, RunReply, SessionInfo
from .wire import KORE, check_seconds

TIMEOUT: Final = 600.0
_ADVICE: Final = (
    "The platform has no list of runs and no idempotency key: read the session with its traces, "
    "sessions.get(session_id=..., include=['traces']); each run that was started has one."
)

_CANNOT_CANCEL: Final = (
    "the platform has no call that does; terminating its session (sessions.terminate) deletes the session's memory, "
    "and is not documented to end a run"
)


class Runs:
    """The runs of an app, available as `AgentPlatform.runs`.

    A request that starts a run is sent once. All methods raise `StartUnknown` if the reply was lost and a run may
    have started; refusals, `NotSent` and cancellation are as documented at `Leena.execute`; ValueError or TypeError
    for arguments that cannot be sent, before any request. `text` is the user's message, or the items of the request's
    `input`; `RunOptions` has the other arguments, the identifiers of the session among them: an id finds one, a
    session's reference finds or creates one, a user's reference alone creates a new one each time.
    """

    def __init__(self, calls: Calls, endpoint: Endpoint) -> None:
        self._calls = calls
        self._endpoint = endpoint
        reader = RunReader(
            calls.pool, calls.account, request=lambda ref: status_request(calls.url, ref), read=read_run
        )
        self._source = calls.pool.source(
            (VENDOR, "runs", calls.url, calls.account.name), reader, VENDOR, cannot_cancel=_CANNOT_CANCEL
        )
        self._starter = RunStarter(calls.pool, calls.account, self._source, advice=_ADVICE)

    @hides_locals
    async def execute(
        self,
        text: Input | None = None,
        *,
        timeout: float | None = TIMEOUT,
        require_authorization: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunReply:
        """Run synchronously: wait at most `timeout` seconds for the answer, and return it.

        An answer may report a failure (`RunReply.is_error`), files that were too large, and pending sign-ins of the
        user: with `require_authorization` the latter raise `AuthorizationRequired`, which carries them as
        `pending_authorizations` and the answer as `reply`; repeat the call when the user has signed in. Raises
        `StartUnknown` after the timeout, since the run may go on. Agent Platform API, sections 5 and 6.5.
        """
        body = execute_body(text, options)
        request = execute_request(self._calls.url, "runs.execute", body, check_seconds(timeout))
        found = await self._calls.start(
            Start(
                vendor=VENDOR,
                request=request,
                read=lambda reply: reply_in(reply, request.call),
                target=_target(options),
                advice=_ADVICE,
            )
        )
        if require_authorization:
            require_authorized(found.pending_authorizations, request.call, found)
        return found

    @hides_locals
    async def start(
        self,
        text: Input | None = None,
        *,
        callback_url: str | WebhookReceiver | None = None,
        callback_token: str | Secret | None = None,
        require_authorization: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunHandle:
        """Start a run in the background and return a handle on it, whose `result()` is the list of its output items.

        With a `WebhookReceiver` as `callback_url`, the run gets a URL and a bearer token of its own there: a delivery
        wakes the handle, and while the receiver is running, regular polls use the longest gap of the cadence. Any
        other `callback_url` is sent as it is, and the platform sends `callback_token` there as bearer token. Raises
        `StartUnknown` if the acknowledgement names no run, which is possible with a callback: a run has started that
        cannot be followed. Raises `AuthorizationRequired` if it names none because the user has to sign in first;
        with `require_authorization` also if a run has started without the sign-in, which goes on as the error's
        `run`. Agent Platform API, sections 6.5.3 and 6.5.4.
        """
        body = execute_body(text, options)
        body["isAsync"] = True
        token = None if callback_token is None else _token(callback_token)
        if isinstance(callback_url, WebhookReceiver):
            if token is not None:
                raise ValueError("callback_token: a receiver generates one for each run")
            token = Secret(secrets.token_urlsafe(24))
        elif callback_url is None and token is not None:
            raise ValueError("callback_token: needs a callback_url")
        with WebhookRegistration.to(callback_url, bearer=token, read=read_delivery) as registration:
            if registration.url is not None:
                body["callbackUrl"] = check_webhook_url(registration.url, "callback_url")
            if token is not None:
                body["callbackToken"] = token.reveal()
            handle = await self._begin(body, registration, options)
            if require_authorization and handle.accepted is not None:
                found = KORE.read(handle.accepted.raw, Answer, call="runs.start")
                require_authorized(found.pending_authorizations, "runs.start", None, handle.accepted)
            return handle

    def stream(
        self,
        text: Input | None = None,
        *,
        mode: str = StreamMode.TOKENS,
        silence: float | None = None,
        **options: Unpack[RunOptions],
    ) -> RunStream:
        """Return a stream of the events of a new run: `async for event in platform.runs.stream(...)`.

        Nothing is sent before the stream is read or entered. `mode` is a `StreamMode`; `debug` adds thoughts, which
        are whole in each mode. `silence` is the longest pause allowed, in seconds, in place of the pool's. An app
        with an active response processor does not stream: its whole answer is the only event. Reading raises what
        `execute` raises, and `StreamCut` if the stream breaks off. Agent Platform API, section 6.5.5.
        """
        body = execute_body(text, options)
        body["stream"] = stream_member(mode)
        identity = identity_of(options)

        def ref_of(session: SessionInfo, run_id: str) -> RunRef:
            # A user's reference alone names many sessions; the events of the stream identify this one.
            is_ambiguous = not identity.is_repeatable and bool(session.session_id)
            named = Identity(session.session_id) if is_ambiguous else identity
            return self._endpoint.ref(run_id, named.details())

        start = StartRequest(
            vendor=VENDOR,
            request=execute_request(self._calls.url, "runs.stream", body, check_seconds(silence)),
            target=_target(options),
            advice=_ADVICE,
        )
        return RunStream(self._calls, start, mode, ref_of)

    @hides_locals
    async def _begin(
        self, body: Mapping[str, Any], registration: WebhookRegistration, options: RunOptions
    ) -> RunHandle:
        request = execute_request(self._calls.url, "runs.start", body)
        scope, target = self._endpoint.scope_with(identity_of(options).details()), _target(options)
        invoke = options.get("invoke")
        # Durations are learned per app or invoked agent, since sessions are too short-lived.
        kind = self._endpoint.details[APP] if invoke is None else invoke.name
        return await self._starter.start(
            request,
            lambda reply, at: read_started(reply, scope, request.call, at),
            target=target,
            kind=kind,
            registration=registration,
            redacted_body=shown_body(body),
        )

    def get(
        self,
        run_id: str,
        *,
        session_id: str | None = None,
        session_reference: str | None = None,
        user_reference: str | None = None,
    ) -> RunHandle:
        """Return a handle on a run by its id and session. Raises ValueError if these are invalid.

        The platform checks that the run belongs to the session. Agent Platform API, section 6.6.
        """
        return self._handle(run_id, Identity.of(session_id, session_reference, user_reference))

    def follow(self, ref: RunRef) -> RunHandle:
        """Return a handle on a run by its reference.

        Raises BadReference for one of another app or environment, or that names no session; ValueError for an
        impossible id.
        """
        run_id, _ = self._endpoint.read(ref)
        return self._handle(run_id, Identity.parse(ref.scope))

    def _handle(self, run_id: str, identity: Identity) -> RunHandle:
        ref = self._endpoint.ref(run_id, identity.details())
        status_request(self._calls.url, ref)
        return RunHandle(self._source, ref)


def _target(options: RunOptions) -> str:
    """Return the target for errors and events: the session, or its user if nothing else is known."""
    identity = identity_of(options)
    return identity.session_id or identity.session_reference or identity.user_reference or ""


def _token(given: str | Secret) -> Secret:
    token = Secret.of(given)
    if not token:
        raise ValueError("callback_token is empty")
    check_header_value(token.reveal(), "callback_token")
    return token
