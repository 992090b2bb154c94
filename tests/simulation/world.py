"""A world: one vendor and one journal, and processes that live over them one after the other."""

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from aioagents.batch import Change, RowState
from aioagents.model import RunRef

from .checks import ENDS, Broken, Checks
from .disk import Disk
from .faults import Faults
from .files import Folder
from .life import Life
from .loop import EPOCH, START, SimLoop
from .plan import Plan
from .vendor import NAME, Vendor

_CALM = 4


@frozen(kw_only=True)
class Result:
    """What came of a world."""

    plan: Plan
    broken: Broken | None
    steps: int
    lives: int
    trace: Sequence[tuple[float, int, str]]
    #: How often each fault befell.
    befell: Mapping[str, int]


@contextmanager
def surroundings() -> Iterator[None]:
    """Keep the collector out of worlds, and silent what remains of killed processes."""
    was_enabled, hook = gc.isenabled(), sys.unraisablehook
    sys.unraisablehook = _ignored
    gc.collect()
    gc.freeze()
    gc.disable()
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                yield
            finally:
                gc.collect()
    finally:
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _ignored(args: Any) -> None:
    """Report what cannot be raised to the process that lives; what remains of dead ones may do as it likes."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - none runs is no error here
    if isinstance(loop, SimLoop) and not loop.is_dead:
        loop.complaints.append({"message": f"ignored in {args.object!r}", "exception": args.exc_value})


def run(plan: Plan) -> Result:
    """Run a world to its end, or to what is broken. To be called within `surroundings`."""
    world = World(plan)
    try:
        world.run()
    finally:
        if world.folder is not None:
            world.folder.remove()
    result = Result(
        plan=plan,
        broken=world.checks.broken,
        steps=world.steps,
        lives=world.lives,
        trace=world.checks.trace,
        befell=world.befell,
    )
    if result.broken is not None:
        result.broken.__traceback__ = None  # it holds on to the whole world
    del world
    gc.collect()
    return result


class World:
    """Everything that outlives processes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.checks = Checks(has_journal=plan.journal != "none")
        self.faults = Faults(plan.rates, plan.stream)
        self.vendor = Vendor(plan, self.faults, self.checks)
        self.disk = Disk()
        has_files = plan.journal == "sqlite" or (plan.has_results and plan.journal == "model")
        self.folder = Folder() if has_files else None
        self.steps = self.lives = 0
        self.befell: dict[str, int] = {}
        self._now = START
        self._chance = plan.stream("world")

    def run(self) -> None:
        """Let processes live with faults, then without any until nothing is left to do."""
        for _ in range(self.plan.lives):
            self._live(is_calm=False)
            if self.checks.broken is not None:
                return
            self._settle_by_hand()
        if self.plan.journal == "none":
            return
        for _ in range(_CALM):
            self._live(is_calm=True)
            if self.checks.broken is not None:
                return
            if all(record.state.is_settled for record in self.disk.records.values()):
                break
        self._compare()
        if self.folder is not None and self.plan.has_results:
            states = {key: record.state for key, record in self.disk.records.items()}
            self.folder.check_results(self.checks, size=self.disk.size, states=states, is_over=True)

    def _live(self, *, is_calm: bool) -> None:
        self.faults.is_calm = is_calm
        self.faults.count.clear()
        life = Life(
            self.plan,
            self.lives,
            vendor=self.vendor,
            disk=self.disk,
            folder=self.folder,
            faults=self.faults,
            checks=self.checks,
            start=self._now,
            is_calm=is_calm,
        )
        life.run()
        self.lives += 1
        for name, count in self.faults.count.items():
            self.befell[name] = self.befell.get(name, 0) + count
        self.steps += life.loop.steps
        self._now = life.loop.time() + self._chance.choice((0.0, 1.0, 100.0))
        if self.folder is not None and self.checks.broken is None:
            self._read_files(self.folder)

    def _read_files(self, folder: Folder) -> None:
        """See what the process has left on disk."""
        if self.plan.journal == "sqlite":
            self.disk.records = folder.records()
            self.disk.size = folder.emitted_size()
            self.checks.sync(
                {key: record.state for key, record in self.disk.records.items()},
                {key: record.ref for key, record in self.disk.records.items()},
            )
        if self.plan.has_results and self.plan.batches == 1:
            states = {key: record.state for key, record in self.disk.records.items()}
            folder.check_results(self.checks, size=self.disk.size, states=states, is_over=False)

    def _settle_by_hand(self) -> None:
        """Settle some rows that nobody can know to have been started."""
        for record in list(self.disk.records.values()):
            if record.state is not RowState.UNKNOWN or self._chance.random() >= self.plan.by_hand:
                continue
            runs = self.vendor.of_key.get(record.key, [])
            state = self._chance.choice((RowState.PLANNED, RowState.DROPPED, RowState.STARTED))
            ref = None
            if state is RowState.STARTED:
                if not runs:
                    continue
                ref = RunRef(NAME, "", runs[-1].id)
            change = Change(key=record.key, state=state, ref=ref, at=EPOCH, is_by_hand=True)
            for each, after in self.disk.record([change], self.disk.open("somebody"), "somebody"):
                self.checks.moved(each.key, each.state, after.ref, is_by_hand=True)

    def _compare(self) -> None:
        """See that journal, vendor and outcomes tell the same at the end."""
        checks = self.checks
        told = {key: outcomes for (_, key), outcomes in checks.outcomes.items()}
        for key in [f"k{number}" for number in range(self.plan.rows)]:
            record = self.disk.records.get(key)
            if record is None or not record.state.is_settled:
                checks.fail("not settled", f"{key} is {record and record.state} at the end")
                return
            states = {each.state for each in told.get(key, ())}
            if record.state not in states:
                checks.fail("another outcome", f"{key} is {record.state}, told as {sorted(states)}")
            runs = self.vendor.of_key.get(key, [])
            if record.state in ENDS.values():
                run = next(
                    (each for each in runs if record.ref is not None and each.id == record.ref.id), None
                )
                if run is None or ENDS[run.end] is not record.state:
                    checks.fail("another end", f"{key} is {record.state}, the vendor has {run}")
            elif record.state is RowState.REFUSED and runs and not checks.row(key).resent:
                checks.fail("refused though started", f"{key}: {runs[0]}")
