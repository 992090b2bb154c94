"""`chat agent-platform`: a conversation with an app, whose answers are shown while they arrive."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

import click

from ....cli.exits import Exit, code_of, worst
from ....cli.options import client_of, json_option
from ....cli.output import Output
from ....cli.work import Work, perform
from ....errors import AgentsError, AuthenticationError, PermissionDenied
from .. import (
    AgentPlatform,
    Debug,
    Invoke,
    RunStream,
    StreamEvent,
    StreamMode,
)
from .run import conversation_options, new_conversation
from .stdin_lines import StdinLines

_PROMPT: Final = "> "


@click.command("agent-platform")
@conversation_options
@click.option("--agent", metavar="NAME", help="The agent that answers.  [default: the app chooses one]")
@click.option(
    "--mode",
    type=click.Choice([StreamMode.TOKENS.value, StreamMode.MESSAGES.value]),
    default=StreamMode.TOKENS.value,
    show_default=True,
    help="Show answers piece by piece, or a message at a time.",
)
@click.option("--thoughts", is_flag=True, help="Show the thoughts of agents.")
@json_option
def chat_platform(
    *,
    session_reference: str | None,
    user_reference: str | None,
    agent: str | None,
    mode: str,
    thoughts: bool,
    is_json: bool,
) -> Exit:
    """Talk to the app named by AGENT_PLATFORM_APP_ID, a line at a time, until Ctrl-D.

    Each line of stdin is sent by itself, and its answer is shown while it arrives. At the prompt Ctrl-C ends the chat
    with 0; during an answer it ends the chat with 130, and the run that goes on is named. With --json each event is a
    line {"event": "answer", ...}, and each end of an answer a line {"event": "answered", ...}. At the end of the
    input the worst answer decides the exit code.
    """
    work = Work(Output(is_json=is_json))
    session = session_reference or new_conversation()

    async def job() -> Exit:
        async with work.pool() as pool:
            client = client_of(AgentPlatform, pool)

            def ask(text: str) -> RunStream:
                return client.runs.stream(
                    text,
                    mode=mode,
                    session_reference=session,
                    user_reference=user_reference,
                    invoke=None if agent is None else Invoke.agent(agent),
                    debug=Debug.THOUGHTS if thoughts else None,
                )

            ask(_PROMPT)  # checks the options before anything is typed; nothing is sent before it is read
            work.out.document({"event": "session", "session_reference": session})
            with StdinLines() as lines:
                return await _Chat(work, ask, lines, mode).talk(session)

    return perform(work, job)


class _Chat:
    """One conversation: a line, its answer, the next line."""

    def __init__(self, work: Work, ask: Callable[[str], RunStream], lines: StdinLines, mode: str) -> None:
        self._work = work
        self._out = work.out
        self._ask = ask
        self._lines = lines
        self._in_pieces = mode == StreamMode.TOKENS
        self._is_prompted = not work.out.is_json and sys.stdin.isatty() and sys.stdout.isatty()

    async def talk(self, session: str) -> Exit:
        """Answer lines until their end or Ctrl-C, and return the exit code of the worst answer."""
        if self._is_prompted:
            self._out.note(f"session {session}; Ctrl-D ends it")
        codes: list[Exit] = []
        while True:
            try:
                line = await self._next_line()
            except asyncio.CancelledError:
                self._leave_prompt()
                return Exit.OK  # no answer is in progress: the usual way to leave
            if line is None:
                self._leave_prompt()
                return worst(codes)
            if line.strip():
                codes.append(await self._answer(line))

    async def _next_line(self) -> str | None:
        if self._is_prompted:
            self._out.piece(_PROMPT)
        return await self._lines.next()

    def _leave_prompt(self) -> None:
        if self._is_prompted:
            self._out.line()

    async def _answer(self, line: str) -> Exit:
        """Show the answer to a line. Raises errors that any other line would have as well."""
        stream, answer = self._ask(line), _Answer(self._out, in_pieces=self._in_pieces)
        try:
            async with stream:
                async for event in stream:
                    answer.show(event)
        except (AuthenticationError, PermissionDenied):
            raise
        except AgentsError as error:
            answer.close(stream)
            self._out.error(error)
            return code_of(error)
        finally:
            answer.end_line()
        answer.close(stream)
        if stream.ref is not None:
            self._work.running.pop(stream.ref, None)
        if stream.result.is_error:
            self._out.warn(f"{stream.ref or 'the run'}: the platform reports that this answer failed")
            return Exit.FAILED
        return Exit.OK


class _Answer:
    """Output of one answer, as text or as JSON."""

    def __init__(self, out: Output, *, in_pieces: bool) -> None:
        self._out = out
        self._in_pieces = in_pieces
        self._is_within_line = False
        self._has_text = False

    def show(self, event: StreamEvent) -> None:
        """Show the text, thoughts and sign-ins of an event."""
        self._out.document(_describe(event))
        for thought in event.thoughts:
            self.end_line()
            self._out.line(f"({thought.source or 'thought'}) {thought.text}")
        for each in event.pending_authorizations:
            self.end_line()
            self._out.line(f"sign in at {each.name or 'a provider'}: {each.url}")
        if event.text:
            self._say(event.text)

    def close(self, stream: RunStream) -> None:
        """End the answer, with the text that only its last event had."""
        result = stream.result
        if result.text and not self._has_text:
            self._say(result.text)
        self.end_line()
        self._out.document(
            {
                "event": "answered",
                "ref": None if stream.ref is None else str(stream.ref),
                "status": result.session.status,
                "is_complete": result.is_complete,
                "is_error": result.is_error,
                "text": result.text,
            }
        )

    def _say(self, text: str) -> None:
        self._has_text = True
        self._out.piece(text)
        self._is_within_line = not text.endswith("\n")
        if not self._in_pieces:
            self.end_line()

    def end_line(self) -> None:
        """End the line in progress, if any."""
        if self._is_within_line:
            self._is_within_line = False
            self._out.line()


def _describe(event: StreamEvent) -> dict[str, object]:
    return {
        "event": "answer",
        "text": event.text,
        "thoughts": [{"source": each.source, "text": each.text} for each in event.thoughts],
        "pending_authorizations": [
            {"name": each.name, "url": each.url, "sso_type": each.sso_type}
            for each in event.pending_authorizations
        ],
        "is_last": event.is_last,
        "raw": event.raw,
    }


CHAT: Final = chat_platform
