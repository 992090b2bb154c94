"""AGH Runtime: the runs of all its jobs and triggers."""

from typing import Unpack

from ...polling import RunHandle
from .calls import Calls, Resource
from .checks import check_filled
from .handles import Handles
from .history import RunFilters, RunHistory
from .records import AutomationRun
from .wire import run_in, runs_in


class Runs:
    """The runs of a runtime. Made by `Agh.runs`; raises and retries as `Jobs` does."""

    def __init__(self, calls: Calls, handles: Handles) -> None:
        self._handles = handles
        self._runs = Resource(calls, "runs", run_in, runs_in)

    def list(
        self, *, job_id: str | None = None, trigger_id: str | None = None, **filters: Unpack[RunFilters]
    ) -> RunHistory:
        """Iterate over runs, newest first, all or those of one job or trigger. As `Jobs.runs`.

        It is not checked that the job or trigger exists: runs of one that was deleted are found.
        """
        given = {"job_id": job_id, "trigger_id": trigger_id}
        owner = {name: check_filled(value, name) for name, value in given.items() if value is not None}
        if len(owner) > 1:
            raise ValueError("job_id and trigger_id: no run has both; pass one of them")
        return self._handles.reporting(RunHistory(self._runs.get_all, owner, **filters))

    def follow(self, run_id: str) -> RunHandle:
        """Return the handle of a run, no matter who started it, up to the real end of its work.

        A delegated run goes on as its task run: its end is that of the task run, `needs_attention` is `PAUSED`, and
        `raw` has both records as `run` and `task_run`. A failed record that may still be retried, as scheduled fires
        and webhooks of owners with `backoff` are, is `QUEUED` until it is surely final. A run whose daemon was
        stopped in the middle never ends: pass a timeout to `wait`. Raises ValueError for an impossible id.
        """
        self._runs.url(run_id)
        return self._handles.by_id(run_id)

    async def get(self, run_id: str) -> AutomationRun:
        """Return the record of a run as it is now; its `delegated` and `failed` may not be final."""
        return await self._runs.get(run_id)
