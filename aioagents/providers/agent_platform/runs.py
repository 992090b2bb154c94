"""Kore Agent Platform: runs of an app: waited for, followed, or listened to."""

import secrets
from collections.abc import Mapping
from typing import Any, Final, Unpack

from ...calls import Start, StartRequest
from ...contract import RunReader, WebhookRegistration
from ...model import Reply, RunRef, Secret
from ...polling import RunHandle
from ...webhooks import WebhookReceiver
from .calls import Calls, require
from .identity import Identity
from .options import Input, RunOptions, StreamMode, execute_body, identity_of, stream_member
from .reading import Fields
from .replies import RunReply, reply_in
from .run_wire import (
    check_callback,
    execute_request,
    read_delivery,
    read_run,
    read_started,
    shown_body,
    status_request,
)
from .settings import VENDOR, check_header_value
from .stream import RunStream
from .values import SessionInfo, pending_in, read_events

TIMEOUT: Final = 600.0
_ADVICE: Final = (
    "The platform lists no runs and knows no idempotency key: read the session with its traces, "
    "sessions.get(session_id=..., include=['traces']), where each run that was begun has one."
)


class Runs:
    """The runs of an app. Made by `AgentPlatform.runs`.

    What begins a run is sent once. It raises `StartUnknown` when the reply was lost and a run may have begun; the
    refusal, `NotSent` and cancellation are as `Leena.execute` tells; ValueError or TypeError for what cannot be sent,
    before anything is. `text` is what the user says, or the items of the request's `input`; `RunOptions` tells what
    else there is, which names the session above all: an id finds one, a session's reference finds or makes one, a
    user's reference alone makes a new one each time.
    """

    def __init__(self, calls: Calls, app_id: str) -> None:
        self._calls = calls
        self._app_id = app_id
        self._pool = calls.pool
        reader = RunReader(
            calls.pool, calls.account, request=lambda ref: status_request(calls.url, ref), read=read_run
        )
        self._source = calls.pool.source((VENDOR, "runs", calls.url, calls.account.name), reader, VENDOR)

    async def execute(
        self,
        text: Input | None = None,
        *,
        timeout: float | None = TIMEOUT,
        require_authorization: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunReply:
        """Run, wait for the answer for at most `timeout` seconds, and give it.

        An answer may tell of a failure (`RunReply.is_error`), of files that were too large, and of sign-ins that the
        user still owes: with `require_authorization` these raise `AuthorizationRequired`, which carries them as
        `pending_authorizations` and the answer as `reply`; repeat the call once the user has signed in. After the
        timeout `StartUnknown` is raised, since the run may go on. Agent Platform API, sections 5 and 6.5.
        """
        body = execute_body(text, options)
        request = execute_request(self._calls.url, "runs.execute", body, _seconds(timeout))
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
            require(found.pending_authorizations, request.call, found)
        return found

    async def start(
        self,
        text: Input | None = None,
        *,
        callback_url: str | WebhookReceiver | None = None,
        callback_token: str | Secret | None = None,
        require_authorization: bool = False,
        **options: Unpack[RunOptions],
    ) -> RunHandle:
        """Start a run in the background and give a handle on it, whose `result()` is the list of what it says.

        With a `WebhookReceiver` the run gets a URL and a bearer token of its own there: a delivery wakes the handle,
        and while the receiver works the regular polls go at the cadence's slowest. Any other `callback_url` is told
        as it is, and `callback_token` is what the platform will send there as bearer token. An acknowledgement that
        names no run, which it may with a callback, raises `StartUnknown`: a run has begun then, and nobody can follow
        it. Where it names none because the user has to sign in first, `AuthorizationRequired` is raised; with
        `require_authorization` also where a run has begun without, which goes on and is the error's `run`.
        Agent Platform API, sections 6.5.3 and 6.5.4.
        """
        body = execute_body(text, options)
        body["isAsync"] = True
        token = None if callback_token is None else _token(callback_token)
        if isinstance(callback_url, WebhookReceiver):
            if token is not None:
                raise ValueError("callback_token: a receiver makes one of its own for each run")
            token = Secret(secrets.token_urlsafe(24))
        elif callback_url is None and token is not None:
            raise ValueError("callback_token: there is no callback_url that it would be sent to")
        with WebhookRegistration.to(callback_url, bearer=token, read=read_delivery) as registration:
            if registration.url is not None:
                body["callbackUrl"] = check_callback(registration.url)
            if token is not None:
                body["callbackToken"] = token.reveal()
            handle = await self._begin(body, registration, options)
            if require_authorization and handle.accepted is not None:
                events = read_events(Fields(handle.accepted.raw))
                require(pending_in(events), "runs.start", None, handle.accepted)
            return handle

    def stream(
        self,
        text: Input | None = None,
        *,
        mode: str = StreamMode.TOKENS,
        silence: float | None = None,
        **options: Unpack[RunOptions],
    ) -> RunStream:
        """Run, and give what comes of it as it comes: `async for event in platform.runs.stream(...)`.

        Nothing is sent before the reading begins. `mode` is a `StreamMode`; `debug` adds thoughts, which come whole
        in each of them. `silence` bounds each pause, in seconds, in place of the pool's. An app with an active
        response processor streams nothing: its whole answer is the one event. Raises while it is read what `execute`
        raises, and `StreamCut` where the stream breaks off. Agent Platform API, section 6.5.5.
        """
        body = execute_body(text, options)
        body["stream"] = stream_member(mode)
        identity = identity_of(options)

        def refer(session: SessionInfo, run_id: str) -> RunRef:
            # A user's reference alone names many sessions, of which the stream tells the one.
            is_vague = not identity.is_repeatable and bool(session.session_id)
            scope = Identity(session.session_id).scope() if is_vague else identity.scope()
            return RunRef(VENDOR, scope, run_id)

        start = StartRequest(
            vendor=VENDOR,
            request=execute_request(self._calls.url, "runs.stream", body, _seconds(silence)),
            target=_target(options),
            advice=_ADVICE,
        )
        return RunStream(self._calls, start, mode, refer)

    async def _begin(
        self, body: Mapping[str, Any], registration: WebhookRegistration, options: RunOptions
    ) -> RunHandle:
        request = execute_request(self._calls.url, "runs.start", body)
        scope, target = identity_of(options).scope(), _target(options)
        invoke = options.get("invoke")
        # How long runs take is learned by what they run; sessions come and go.
        kind = self._app_id if invoke is None else invoke.name

        def read(reply: Reply) -> RunHandle:
            clock = self._pool.clock
            run = read_started(reply, scope, request.call, clock.utcnow())
            return registration.handle(self._source, run.ref, target=kind, accepted=run, begun_at=clock.now())

        return await self._calls.start(
            Start(
                vendor=VENDOR,
                request=request,
                read=read,
                target=target,
                advice=_ADVICE,
                redacted_body=shown_body(body),
            )
        )

    def get(
        self,
        run_id: str,
        *,
        session_id: str | None = None,
        session_reference: str | None = None,
        user_reference: str | None = None,
    ) -> RunHandle:
        """Follow a run by its id and its session, whoever started it. Raises ValueError for what names none.

        The session is what the platform checks before it tells of the run. Agent Platform API, section 6.6.
        """
        scope = Identity.of(session_id, session_reference, user_reference).scope()
        return self.follow(RunRef(VENDOR, scope, run_id))

    def follow(self, ref: RunRef) -> RunHandle:
        """Follow a run by its reference. Raises ValueError for one that names no session or no run."""
        status_request(self._calls.url, ref)
        return RunHandle(self._source, ref)


def _target(options: RunOptions) -> str:
    """Name what is run, for errors and events: the session; its user only where nothing else is known."""
    identity = identity_of(options)
    return identity.session_id or identity.session_reference or identity.user_reference or ""


def _token(given: str | Secret) -> Secret:
    token = Secret.of(given)
    if not token:
        raise ValueError("callback_token is empty")
    check_header_value(token.reveal(), "callback_token")
    return token


def _seconds(timeout: float | None) -> float | None:
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout has to be above 0 seconds, or None, not {timeout!r}")
    return timeout
