"""AGH Runtime: the runs of all its jobs and triggers."""

from ...polling import RunHandle
from .calls import Calls
from .handles import Handles
from .history import PAGE_SIZE, RunHistory, history
from .records import AutomationRun
from .times import Moment
from .wire import get_request, run_in


class Runs:
    """The runs of a runtime. Made by `Agh.runs`; raises and retries as `Jobs` does."""

    def __init__(self, calls: Calls, handles: Handles) -> None:
        self._calls = calls
        self._handles = handles
        self._url = calls.url("runs")

    def list(
        self,
        *,
        job_id: str | None = None,
        trigger_id: str | None = None,
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> RunHistory:
        """Iterate over runs, newest first, all or those of one job or trigger. As `Jobs.runs`.

        It is not checked that the job or trigger exists: runs of one that was deleted are found.
        """
        return history(
            self._calls,
            self._url,
            "runs.list",
            job_id=job_id,
            trigger_id=trigger_id,
            status=status,
            since=since,
            until=until,
            limit=limit,
            page_size=page_size,
        )

    def follow(self, run_id: str) -> RunHandle:
        """Return the handle of a run, no matter who started it, up to the real end of its work.

        A delegated run goes on as its task run: its end is that of the task run, `needs_attention` is `PAUSED`, and
        `raw` has both records as `run` and `task_run`. A failed record that may still be retried, as scheduled fires
        and webhooks of owners with `backoff` are, is `QUEUED` until it is surely final. A run whose daemon was
        stopped in the middle never ends: pass a timeout to `wait`. Raises ValueError for an impossible id.
        """
        self._calls.item("runs", run_id)
        return self._handles.by_id(run_id)

    async def get(self, run_id: str) -> AutomationRun:
        """Return the record of a run as it is now; its `delegated` and `failed` may not be final."""
        return await self._calls.call(get_request(self._calls.item("runs", run_id), "runs.get"), run_in)
