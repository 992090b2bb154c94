"""One process of a world: a pool, batches, whoever reads them and waits for runs, until its end or its kill."""

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import Any, Final

from aioagents import SessionPool
from aioagents.batch import BatchRow
from aioagents.errors import AgentsError, JournalError, StartUnknown
from aioagents.observe import Event
from aioagents.webhooks import WebhookReceiver

from .actions import plan_actions
from .checks import Checks
from .client import SimClient
from .disk import Disk
from .engine import check, make_batch
from .faults import Faults
from .files import FileJournal, Folder, Results
from .journal import ModelJournal
from .loop import Killed, SimClock, SimLoop, StandsStill, step, turns
from .plan import Plan
from .polls import Polls
from .readers import Reader
from .traffic import Traffic
from .vendor import SimRun, SimSend, Vendor
from .waiters import Waiter, deliver

#: Seconds in which everything that a process left has to end.
_PATIENCE: Final = 1000.0


class Life:
    """One process. `number` counts them; the last ones of a world are calm: nothing goes wrong in them."""

    def __init__(
        self,
        plan: Plan,
        number: int,
        *,
        vendor: Vendor,
        disk: Disk,
        folder: Folder | None,
        faults: Faults,
        checks: Checks,
        start: float,
        is_calm: bool,
    ) -> None:
        self.plan = plan
        self.number = number
        self.vendor = vendor
        self.disk = disk
        self.folder = folder
        self.faults = faults
        self.checks = checks
        self.is_calm = is_calm
        self.is_dead = False
        self.is_late = "timers.late" in faults
        self.chance = plan.stream(f"life {number}")
        self.loop = SimLoop(
            plan.stream(f"loop {number}"),
            start=start,
            lateness=2.0 if self.is_late else 0.0,
            on_step=self._stepped,
            on_quiet=self._quiet,
            most_steps=plan.budget,
        )
        self.clock = SimClock(self.loop)
        self.polls = Polls(plan.cadence, self.loop, checks, is_sole=not (plan.has_webhooks or plan.waiters))
        self.traffic = Traffic(plan, self.loop, checks)
        self.send = SimSend(vendor, self, plan.stream(f"send {number}"))
        self.journals: list[ModelJournal | FileJournal] = []
        self.results: Results | None = None
        self.readers: list[Reader] = []
        self.pool: SessionPool
        self.client: SimClient
        self.receiver: WebhookReceiver | None = None
        self.was_cancelled = self.was_closed = False
        self._coming = 0
        self.users: set[asyncio.Task[Any]] = set()
        self._direct: dict[str, str] = {}
        self.main: asyncio.Task[Any] | None = None

    # Running

    def run(self) -> None:
        """Live. Leaves what is broken to the checks."""
        self.checks.where = lambda: (self.loop.time(), self.loop.steps)
        self.checks.note(f"life {self.number} begins{', calm' if self.is_calm else ''}")
        self.vendor.begin_life(self.loop)
        self.vendor.on_run = self._run_began
        sending = self.plan.batch["sending"] * self.plan.batches
        self.checks.begin_life(
            self.number, allowed=sending, is_resending=self.plan.batch["on_unknown"] == "resend"
        )
        is_killed = False
        try:
            self.loop.run_until_complete(self._live())
            self.loop.finish()
            self._ended()
        except Killed:
            is_killed = True
            self.checks.note("killed")
        except StandsStill as error:
            if self.checks.broken is None:
                self.checks.fail("stands still", f"{error}; {self._stuck()}")
        except Exception as error:  # noqa: BLE001 - reported as what it is
            if self.checks.broken is None:
                self.checks.fail("raised", repr(error))
        finally:
            self.is_dead = True
            chance = self.plan.stream(f"end {self.number}")
            self.loop.is_dead = True
            for journal in self.journals:
                journal.end_life(is_killed=is_killed)
            if self.results is not None:
                self.results.end_life()
            self.vendor.end_life(chance)
            self.loop.kill()
            self.vendor.on_run = lambda _: None

    def _stuck(self) -> str:
        waits = sorted(task.get_name() for task in asyncio.all_tasks(self.loop))
        return f"tasks: {', '.join(waits)}; readers: {[str(each) for each in self.readers]}"

    async def _live(self) -> None:
        plan = self.plan
        self.main = asyncio.current_task()
        if plan.has_webhooks:
            self.receiver = WebhookReceiver("https://hooks.test")
        self.pool = SessionPool(
            limits=plan.limits,
            retry=plan.retry,
            cadence=self.polls,
            hooks=[self._event],
            clock=self.clock,
            send=self.send,
            chance=plan.stream(f"chance {self.number}").random,
        )
        batches = range(1 if self.is_calm else plan.batches)
        async with AsyncExitStack() as stack:
            for number in batches:
                await self._open_journal(number, stack)
            await stack.enter_async_context(self.pool)
            self.client = SimClient(self.pool, self, self.receiver)
            for number in batches:
                self._add_batch(number)
            if not self.is_calm:
                plan_actions(self)
            for reader in self.readers:
                reader.task = self.spawn(reader.read(), f"reader {reader.number}")
            if self.folder is not None and plan.has_results and len(self.journals) == 1:
                self._write_results(self.folder)
            for number in range(0 if self.is_calm else plan.direct):
                self._start_directly(number)
            while self.users or self._coming:
                if self.users:
                    await asyncio.wait(tuple(self.users))
                else:
                    await asyncio.sleep(1.0)
            self.was_closed = True
        await self._rest()

    async def _rest(self) -> None:
        """Wait until everything that the process left has ended, as an event loop does that is about to close."""
        await self._wait_for_tasks()
        await self.loop.shutdown_asyncgens()
        await self._wait_for_tasks()

    async def _wait_for_tasks(self) -> None:
        me = asyncio.current_task()
        ends_at = self.loop.time() + _PATIENCE
        while others := [task for task in asyncio.all_tasks() if task is not me]:
            await asyncio.wait(others, timeout=ends_at - self.loop.time())
            if self.loop.time() >= ends_at:
                self.checks.fail("task left", f"{others}")
                return

    def spawn(self, work: Any, name: str) -> "asyncio.Task[Any]":
        """Start a task of whoever uses the library."""
        task = self.loop.create_task(work, name=name)
        self.users.add(task)
        task.add_done_callback(self._user_ended)
        return task

    def _user_ended(self, task: "asyncio.Task[Any]") -> None:
        self.users.discard(task)
        if not self.is_dead and not task.cancelled() and (error := task.exception()) is not None:
            self.checks.fail("raised", f"{task.get_name()}: {error!r}")

    async def _open_journal(self, number: int, stack: AsyncExitStack) -> None:
        plan, loop = self.plan, self.loop
        options: dict[str, Any] = {
            "chance": self.stream(f"journal {number}"),
            "faults": self.faults,
            "checks": self.checks,
            "delay": plan.disk,
        }
        if plan.journal == "model":
            self.journals.append(ModelJournal(self.disk, f"owner {number}", loop, **options))
        elif plan.journal == "sqlite":
            assert self.folder is not None
            kept = FileJournal(self.folder, loop, self.clock, **options)
            self.journals.append(kept)
            await stack.enter_async_context(kept.real)

    def _add_batch(self, number: int) -> None:
        plan = self.plan
        journal = self.journals[number] if self.journals else None
        options = dict(plan.batch)
        if self.is_calm:
            options["timeout"] = None
        batch = make_batch(self.client, ahead=plan.ahead, outage=plan.outage, journal=journal, **options)
        self.readers.append(Reader(self, number, batch))

    def _write_results(self, folder: Folder) -> None:
        chance = self.stream("results")
        self.results = Results(self.journals[0], folder.results, chance)
        task = self.spawn(self._keep_results(self.results), "results")
        if self.faults.hit("results.cancelled"):
            self.loop.at_step(step(chance), task.cancel)

    async def _keep_results(self, results: "Results") -> None:
        (reader,) = self.readers
        try:
            await results.write(lambda: reader.task is not None and reader.task.done())
        except JournalError:
            if not any(name.startswith("journal.") for name in self.faults.count):
                raise

    def stream(self, name: str) -> Random:
        """Return a source of chance for one purpose, so that to leave it out changes nothing else."""
        return self.plan.stream(f"life {self.number} {name}")

    # What is seen

    def _event(self, event: Event) -> None:
        if not self.is_dead:
            self.checks.event(event)

    def _stepped(self) -> None:
        for reader in self.readers:
            try:
                check(reader.batch)
            except AssertionError as error:
                self.checks.fail("recount", f"the core's rows: {error}")
        broken = self.checks.broken
        if broken is not None:
            raise broken

    def _quiet(self) -> None:
        """Recount, when nothing is about to happen."""
        if self.is_dead:
            return
        if hasattr(self, "pool"):
            figures = self.pool.statistics()
            self.traffic.recount(figures, None if self.was_closed else self.polls)
            awaited = sum(reader.batch.statistics().in_flight for reader in self.readers)
            awaited += sum(task.get_name().startswith("waiter") for task in self.users)
            if not self.was_closed and not self.was_cancelled:
                self.polls.recount(figures, most=self.plan.limits.pollers, awaited=awaited)
        for reader in self.readers:
            reader.recount()
        self._stepped()

    # Whoever else uses the pool

    def _run_began(self, run: SimRun) -> None:
        if self.is_dead:
            return
        if run.webhook is not None:
            self.loop.call_outside(max(run.ends_at - self.loop.time(), 0.0), self._deliver, run)
        chance = self.plan.stream(f"waiters {run.id}")
        if self.is_calm or chance.random() >= self.plan.waiters:
            return
        for _ in range(chance.choice((1, 1, 2, 5))):
            self._add_waiter(run, chance)

    def _add_waiter(self, run: SimRun, chance: Random) -> None:
        waiter = Waiter(self, run, chance)

        def begin() -> None:
            self._coming -= 1
            waiter.begin()

        self._coming += 1
        self.loop.call_outside(chance.choice((0.0, 0.0, 0.5, 5.0)), begin)

    def _deliver(self, run: SimRun) -> None:
        if not self.is_dead and self.receiver is not None and self.chance.random() < 0.8:
            self.loop.create_task(deliver(self.receiver, run))

    def _start_directly(self, number: int) -> None:
        key = f"d{self.number}.{number}"
        chance = self.stream(key)
        task = self.spawn(self._start_one(key, chance), f"direct {key}")
        if chance.random() < 0.5:
            self.loop.at_step(step(chance), task.cancel)

    async def _start_one(self, key: str, chance: Random) -> None:
        try:
            await turns(chance.randrange(50))
            begun = await self.client.start_row(BatchRow(key, f"t-{key}"))
        except StartUnknown:
            self.checks.told.add(key)
        except (AgentsError, RuntimeError):
            pass
        else:
            self._direct[key] = begun.ref.id

    # The end

    def _ended(self) -> None:
        """See that nothing is left, and that everything is known to somebody."""
        checks = self.checks
        if self.loop.timers:
            checks.fail("timer left", f"{self.loop.timers}")
        for complaint in self.loop.complaints:
            checks.fail("complaint", f"{complaint}")
        if self.traffic.inside or self.traffic.tokens_inside:
            checks.fail("request left", f"{self.traffic.inside} requests were never let go of")
        for journal in self.journals:
            journal.end_life(is_killed=False)
        if checks.has_journal:
            checks.accounted(handles=self._direct)
        for reader in self.readers:
            reader.ended()
        if self.is_quick:
            checks.asked_alone()
            if not any(name.startswith("journal.") for name in self.faults.count):
                checks.nothing_unsent()

    @property
    def is_quick(self) -> bool:
        """Return whether the journal has answered everything long before anybody lost patience."""
        is_patient = self.plan.batch["grace"] >= 1.0 and not any(each.is_impatient for each in self.readers)
        return (
            "journal.slow" not in self.faults.count
            and is_patient
            and self.plan.disk <= 0.02
            and not (self.was_cancelled or self.is_late)
        )
