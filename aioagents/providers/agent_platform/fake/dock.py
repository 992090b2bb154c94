"""Dock jobs: the background work on tools, models and guardrails, how it is told, and what exports give."""

import hmac
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote, urlsplit
from zipfile import ZipFile, ZipInfo

from attrs import define, frozen

from ....codec import encode_json
from ....contract.fake import Answer, Call, DelayedReply, Endpoint, Refused
from ....model import Purpose, Reply
from .courses import Courses, Progress, is_end, is_good
from .desk import Desk

_SPELLINGS: Final = ("IN_PROGRESS", "IN PROGRESS", "IN_ PROGRESS")
_SINGULAR: Final = {"MODELS": "MODEL", "GUARDRAILS": "GUARDRAIL"}
_LIFE: Final = 2_592_000.0
_FILES: Final = ("app_definition.json", "flow_definition.json", "env_variables.json")


@frozen(kw_only=True)
class Trigger:
    """What begins jobs of one kind, and how it tells them: the names of the job's id, and of its target's."""

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
#: As in the vendor's sample, an import that says it exports.
IMPORT_MODEL: Final = Trigger(
    kind="MODELS", action="EXPORT", target="modelId", ids=("dock-statusId", "dockstatusId"), script="import"
)
EXPORT_MODEL: Final = Trigger(
    kind="MODELS", action="EXPORT", target="modelId", ids=("_id", "dockStatusId"), has_percentage=True
)
DEPLOY_MODEL: Final = Trigger(kind="MODELS", action="DEPLOY", target="modelId", ids=_DASHED)
UNDEPLOY_MODEL: Final = Trigger(kind="MODELS", action="UNDEPLOY", target="modelId", ids=_DASHED)
DEPLOY_GUARDRAIL: Final = Trigger(kind="GUARDRAILS", action="DEPLOY", target="modelId", ids=_DASHED)
#: As in the vendor's sample, with a tool's id.
UNDEPLOY_GUARDRAIL: Final = Trigger(kind="GUARDRAILS", action="UNDEPLOY", target="toolId", ids=_TOOL)


@define(eq=False, kw_only=True)
class Job(Progress):
    """One dock job. `url` is where its export will be; empty where it exports nothing."""

    trigger: Trigger
    target: str
    url: str = ""
    export_id: str = ""

    def percentage(self, now: float) -> int:
        """Return how far it has come."""
        if is_end(self.at(now)[1]):
            return 100
        whole = self.ended_at - self.created_at
        return min(99, int(100 * (now - self.created_at) / whole))


class Dock:
    """All dock jobs of one world, and what is asked about them."""

    def __init__(self, desk: Desk, courses: Courses) -> None:
        self._desk = desk
        self._courses = courses
        self._by_id: dict[str, Job] = {}
        self._exports: dict[str, Job] = {}
        self._secret = desk.new_hex(32).encode()

    def endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoint that a key opens."""
        yield "GET", "/api/public/dock-status/{job_id}", "dock.status", Purpose.POLL, self._poll

    def open_endpoints(self) -> Iterator[Endpoint]:
        """Return the endpoint that a signed URL opens."""
        path = "/api/v1/account/{account_id}/exports/{name}"
        yield "GET", path, "exports.download", Purpose.CALL, self._download

    def get(self, job_id: str) -> Job | None:
        """Return a job by its id."""
        return self._by_id.get(job_id)

    def begin(
        self, call: Call, trigger: Trigger, target: str, *, name: str = "", waits: bool = False
    ) -> Answer:
        """Begin a job and tell it, when it is over if it `waits`. A script is found by its action and `name`."""
        action = trigger.script or trigger.action.lower()
        job = Job(
            id=self._desk.new_id("ds-"),
            created_at=call.now,
            course=self._courses.job(f"{action}:{name or target}"),
            trigger=trigger,
            target=target,
        )
        self._by_id[job.id] = job
        if trigger in (EXPORT_TOOL, EXPORT_MODEL):
            job.export_id = self._desk.new_id("tool-ej-" if trigger is EXPORT_TOOL else "model-ej-")
            job.url = self._sign(call, f"{job.export_id}.zip")
            self._exports[f"{job.export_id}.zip"] = job
        self._desk.counts["dock_jobs"] += 1
        self._desk.counts["starts"] += 1
        if waits and job.ended_at > call.now:
            return DelayedReply(
                until=job.ended_at, reply=lambda now: self._desk.accepted(self._triggered(job, now))
            )
        return self._desk.accepted(self._triggered(job, call.now))

    def _triggered(self, job: Job, now: float) -> dict[str, Any]:
        trigger = job.trigger
        told: dict[str, Any] = {self._desk.turn(f"{trigger.kind} {trigger.action}", *trigger.ids): job.id}
        told |= {trigger.target: job.target, **self._common(job, now)}
        if trigger.has_percentage:
            told["percentageComplete"] = job.percentage(now)
        if trigger.has_early_url:
            told |= {"exportJobId": job.export_id, "response": self._download_of(job)}
        elif job.url:
            told |= self._response(job, now)
        return told

    def _common(self, job: Job, now: float) -> dict[str, Any]:
        kind, word = job.trigger.kind, job.at(now)[1]
        is_spelled = word == "IN_PROGRESS"
        return {
            "jobType": self._desk.turn("job type", kind, _SINGULAR.get(kind, kind)),
            "action": job.trigger.action,
            "status": self._desk.turn("dock status", *_SPELLINGS) if is_spelled else word,
        }

    def _response(self, job: Job, now: float) -> dict[str, Any]:
        return {"response": self._download_of(job)} if is_good(job.at(now)[1]) else {}

    def _download_of(self, job: Job) -> dict[str, Any]:
        # With a space in front, as in both samples.
        return {self._desk.turn("download url", "downloadUrl", "downloadURL"): f" {job.url}"}

    def _poll(self, call: Call) -> Reply:
        job = self._by_id.get(call.path["job_id"])
        if job is None:
            raise self._desk.missing("dock status")
        self._desk.counts["polls"] += 1
        told: dict[str, Any] = {"_id": job.id}
        if job.trigger.kind == "TOOLS":
            told["toolId"] = job.target
        else:
            # What other jobs call it here, the vendor does not tell.
            told |= self._desk.turn("dock target", {"modelId": job.target}, {"toolId": job.target}, {})
        told |= self._common(job, call.now)
        if job.url and self._desk.rules.downloads_in_status:
            told |= {"percentageComplete": job.percentage(call.now), **self._response(job, call.now)}
        return self._desk.reply(told)

    def _sign(self, call: Call, name: str) -> str:
        parts = urlsplit(call.request.url)
        host = call.header("host") or parts.netloc or "platform.example"
        path = f"/api/v1/account/{quote(self._desk.place.account_id)}/exports/{quote(name)}"
        expires = round(call.now + _LIFE)
        return f"{parts.scheme or 'http'}://{host}{path}?e={expires}&s={self._signature(name, str(expires))}"

    def _signature(self, name: str, expires: str) -> str:
        return hmac.new(self._secret, f"{name} {expires}".encode(), sha256).hexdigest()[:32]

    def _download(self, call: Call) -> Reply:
        name, expires = call.path["name"], call.query.get("e", "")
        if not hmac.compare_digest(call.query.get("s", "").encode(), self._signature(name, expires).encode()):
            raise Refused(403, "the signature does not fit")
        if call.now > float(expires):
            raise Refused(403, "the URL is no longer valid")
        job = self._exports[name]
        if not is_good(job.at(call.now)[1]):
            raise self._desk.missing("export")
        rules = self._desk.rules
        headers = {rules.key_header.lower(), rules.tools_key_header.lower()}
        self._desk.counts["downloads"] += 1
        # The URL is signed: a key that comes along has been given to whoever keeps the files.
        self._desk.counts["downloads_with_key"] += any(call.header(name) is not None for name in headers)
        return Reply(200, {"content-type": "application/zip"}, _archive(job))


def _archive(job: Job) -> bytes:
    """Make a zip file that is the same whenever it is made."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name in _FILES:
            archive.writestr(
                ZipInfo(name, (2026, 1, 5, 9, 0, 0)), encode_json({"of": job.target, "file": name})
            )
    return buffer.getvalue()
