"""Dock jobs, the background work on tools, models and guardrails: their status, and the files of exports."""

import hmac
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote, urlsplit
from zipfile import ZipFile, ZipInfo

from attrs import define, frozen

from ....codec import encode_json
from ....contract.fake import Answer, Call, DelayedReply, Endpoint, FakeRun, Refused, Timelines
from ....model import Purpose, Reply
from .state import ServerState
from .statuses import JOB_WORDS, is_good

_SPELLINGS: Final = ("IN_PROGRESS", "IN PROGRESS", "IN_ PROGRESS")
_SINGULAR: Final = {"MODELS": "MODEL", "GUARDRAILS": "GUARDRAIL"}
_LIFE: Final = 2_592_000.0
_FILES: Final = ("app_definition.json", "flow_definition.json", "env_variables.json")


@frozen(kw_only=True)
class Trigger:
    """A call that starts dock jobs, and the form of its answer: `ids` and `target` name the members with ids."""

    kind: str
    action: str
    target: str
    ids: tuple[str, ...]
    script: str = ""
    has_early_url: bool = False
    has_percentage: bool = False


_TOOL: Final = ("dockStatusId",)
_DASHED: Final = ("dock-statusId", "dockStatusId")
IMPORT_TOOL: Final = Trigger(kind="TOOLS", action="IMPORT", target="toolId", ids=_TOOL)
EXPORT_TOOL: Final = Trigger(kind="TOOLS", action="EXPORT", target="toolId", ids=_DASHED, has_early_url=True)
DEPLOY_TOOL: Final = Trigger(kind="TOOLS", action="DEPLOY", target="toolId", ids=_DASHED)
UNDEPLOY_TOOL: Final = Trigger(kind="TOOLS", action="UNDEPLOY", target="toolId", ids=_TOOL)
#: As in the vendor's sample, where the action of an import is EXPORT.
IMPORT_MODEL: Final = Trigger(
    kind="MODELS", action="EXPORT", target="modelId", ids=("dock-statusId", "dockstatusId"), script="import"
)
EXPORT_MODEL: Final = Trigger(
    kind="MODELS", action="EXPORT", target="modelId", ids=("_id", "dockStatusId"), has_percentage=True
)
DEPLOY_MODEL: Final = Trigger(kind="MODELS", action="DEPLOY", target="modelId", ids=_DASHED)
UNDEPLOY_MODEL: Final = Trigger(kind="MODELS", action="UNDEPLOY", target="modelId", ids=_DASHED)
DEPLOY_GUARDRAIL: Final = Trigger(kind="GUARDRAILS", action="DEPLOY", target="modelId", ids=_DASHED)
#: As in the vendor's sample, where the id is called a tool's.
UNDEPLOY_GUARDRAIL: Final = Trigger(kind="GUARDRAILS", action="UNDEPLOY", target="toolId", ids=_TOOL)


@define(eq=False, kw_only=True)
class DockJob(FakeRun):
    """One dock job. `url` is the download URL of its export; empty if it exports nothing."""

    trigger: Trigger
    target: str
    url: str = ""
    export_id: str = ""

    def percentage(self, now: float) -> int:
        """Return its progress in percent."""
        if self.is_over(now):
            return 100
        whole = self.until - self.created_at
        return min(99, int(100 * (now - self.created_at) / whole))


class DockJobs:
    """All dock jobs, and the handlers of their status and of the downloads."""

    def __init__(self, server: ServerState) -> None:
        self._server = server
        self._timelines = Timelines(server.plan, JOB_WORDS)
        self._by_id: dict[str, DockJob] = {}
        self._exports: dict[str, DockJob] = {}
        self._secret = server.new_hex(32).encode()

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoint that needs a key."""
        yield "GET", "/api/public/dock-status/{job_id}", "dock.status", Purpose.POLL, self._poll

    def open_endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoint that needs a signed URL, and no key."""
        path = "/api/v1/account/{account_id}/exports/{name}"
        yield "GET", path, "exports.download", Purpose.CALL, self._download

    def get(self, job_id: str) -> DockJob | None:
        """Return a job by its id, None if there is none."""
        return self._by_id.get(job_id)

    def start(
        self, call: Call, trigger: Trigger, target: str, *, name: str = "", is_held: bool = False
    ) -> Answer:
        """Start a job and return the answer: at once or, if `is_held`, when it ends. `name` finds its script."""
        action = trigger.script or trigger.action.lower()
        chance = self._server.random_for(f"job {len(self._by_id)}")
        script = self._timelines.scripted([f"{action}:{name or target}"])
        job = DockJob(
            id=self._server.new_id("ds-"),
            created_at=call.now,
            timeline=script or self._timelines.drawn(chance),
            trigger=trigger,
            target=target,
        )
        if script is None and chance.random() < self._server.rules.ended_at_start:
            job.end_at_start()
        self._by_id[job.id] = job
        if trigger in (EXPORT_TOOL, EXPORT_MODEL):
            job.export_id = self._server.new_id("tool-ej-" if trigger is EXPORT_TOOL else "model-ej-")
            job.url = self._sign(call, f"{job.export_id}.zip")
            self._exports[f"{job.export_id}.zip"] = job
        self._server.counts["dock_jobs"] += 1
        self._server.counts["starts"] += 1
        if is_held and not job.is_over(call.now):
            return DelayedReply(
                until=job.until, reply=lambda now: self._server.accepted(self._triggered(job, now))
            )
        return self._server.accepted(self._triggered(job, call.now))

    def _triggered(self, job: DockJob, now: float) -> dict[str, Any]:
        trigger = job.trigger
        body: dict[str, Any] = {self._server.vary(f"{trigger.kind} {trigger.action}", *trigger.ids): job.id}
        body |= {trigger.target: job.target, **self._common(job, now)}
        if trigger.has_percentage:
            body["percentageComplete"] = job.percentage(now)
        if trigger.has_early_url:
            body |= {"exportJobId": job.export_id, "response": self._download_of(job)}
        elif job.url:
            body |= self._response(job, now)
        return body

    def _common(self, job: DockJob, now: float) -> dict[str, Any]:
        kind, word = job.trigger.kind, job.status_at(now)[1]
        is_spelled = word == "IN_PROGRESS"
        return {
            "jobType": self._server.vary("job type", kind, _SINGULAR.get(kind, kind)),
            "action": job.trigger.action,
            "status": self._server.vary("dock status", *_SPELLINGS) if is_spelled else word,
        }

    def _response(self, job: DockJob, now: float) -> dict[str, Any]:
        return {"response": self._download_of(job)} if is_good(job.status_at(now)[1]) else {}

    def _download_of(self, job: DockJob) -> dict[str, Any]:
        # With a leading space, as in both samples.
        return {self._server.vary("download url", "downloadUrl", "downloadURL"): f" {job.url}"}

    def _poll(self, call: Call) -> Reply:
        job = self._server.found(self._by_id.get(call.path["job_id"]), "dock status")
        self._server.counts["polls"] += 1
        body: dict[str, Any] = {"_id": job.id}
        if job.trigger.kind == "TOOLS":
            body["toolId"] = job.target
        else:
            # The vendor documents no name for the target of other jobs.
            body |= self._server.vary("dock target", {"modelId": job.target}, {"toolId": job.target}, {})
        body |= self._common(job, call.now)
        if job.url and self._server.rules.downloads_in_status:
            body |= {"percentageComplete": job.percentage(call.now), **self._response(job, call.now)}
        return self._server.reply(body)

    def _sign(self, call: Call, name: str) -> str:
        parts = urlsplit(call.request.url)
        host = call.header("host") or parts.netloc or "platform.example"
        path = f"/api/v1/account/{quote(self._server.app.account_id)}/exports/{quote(name)}"
        expires = round(call.now + _LIFE)
        return f"{parts.scheme or 'http'}://{host}{path}?e={expires}&s={self._signature(name, str(expires))}"

    def _signature(self, name: str, expires: str) -> str:
        return hmac.new(self._secret, f"{name} {expires}".encode(), sha256).hexdigest()[:32]

    def _download(self, call: Call) -> Reply:
        name, expires = call.path["name"], call.query.get("e", "")
        if not hmac.compare_digest(call.query.get("s", "").encode(), self._signature(name, expires).encode()):
            raise Refused(403, "the signature does not match")
        if call.now > float(expires):
            raise Refused(403, "the URL is no longer valid")
        job = self._exports[name]
        if not is_good(job.status_at(call.now)[1]):
            raise self._server.not_found("export")
        rules = self._server.rules
        headers = {rules.key_header.lower(), rules.tools_key_header.lower()}
        self._server.counts["downloads"] += 1
        # The URL is signed, so that a key in the headers was disclosed to the file store for nothing.
        self._server.counts["downloads_with_key"] += any(call.header(name) is not None for name in headers)
        return Reply(200, {"content-type": "application/zip"}, _archive(job))


def _archive(job: DockJob) -> bytes:
    """Return a zip file, the same bytes at each call."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name in _FILES:
            archive.writestr(
                ZipInfo(name, (2026, 1, 5, 9, 0, 0)), encode_json({"of": job.target, "file": name})
            )
    return buffer.getvalue()
