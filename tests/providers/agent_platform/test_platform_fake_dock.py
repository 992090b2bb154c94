"""The fake Agent Platform's dock jobs: what begins them, how they are told, what exports give."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final
from zipfile import ZipFile

import pytest

from aioagents.codec import decode_json
from aioagents.contract.fake import DelayedReply, Step
from aioagents.model import Reply
from aioagents.providers.agent_platform.fake import DEVICES, GUARDRAILS
from tests.providers.agent_platform.platform_fake_rig import (
    APP_KEY,
    PUBLIC,
    TOOLS_KEY,
    PlatformAsker,
    asker,
    awaited,
    read,
)

_DEPLOYMENT: Final[Mapping[str, Any]] = {
    "name": "prod",
    "isDeployedPreviously": True,
    "hyperParameters": {"temperature": 0.5, "maxTokens": 512, "topP": 1, "topK": 1, "stopSequence": []},
    "scalingParameters": {
        "maxBatchSize": 256,
        "minReplicas": 1,
        "maxReplicas": 50,
        "scaleUpDelay": 1000,
        "scaleDownDelay": 50,
    },
    "deviceType": "g4dn.metal",
    "optimizationInfo": {"optimizationType": "", "quantizationType": "no_quantization"},
}
_DEPLOY_MODEL: Final = "/models/cm-1/deploy?modelType=openSource"
_TOXICITY: Final = {"name": "Toxicity"}
_SLOW: Final = (Step("IN_PROGRESS", 10), Step("SUCCESS"))
_IDS: Final = {"dockStatusId", "dock-statusId", "dockstatusId", "_id"}
_DASHED: Final = {"dock-statusId", "dockStatusId"}
_PLAIN: Final = {"dockStatusId"}
#: Each trigger: its path, body, script, the spellings of its id, the name of its target, kind and action.
_TRIGGERS: Final = [
    ("/tools/import", "files+name", "import:T", _PLAIN, "toolId", "TOOLS", "IMPORT"),
    ("/tools/a-1/import", "files", "import:a-1", _PLAIN, "toolId", "TOOLS", "IMPORT"),
    ("/tools/a-1/export?flowId=cf-1", None, "export:a-1", _DASHED, "toolId", "TOOLS", "EXPORT"),
    ("/tools/a-1/deploy", {"isAsync": True}, "deploy:a-1", _DASHED, "toolId", "TOOLS", "DEPLOY"),
    ("/tools/a-1/undeploy", None, "undeploy:a-1", _PLAIN, "toolId", "TOOLS", "UNDEPLOY"),
    ("/models/cm-1/export", None, "export:cm-1", {"_id", "dockStatusId"}, "modelId", "MODELS", "EXPORT"),
    (_DEPLOY_MODEL, _DEPLOYMENT, "deploy:cm-1", _DASHED, "modelId", "MODELS", "DEPLOY"),
    ("/models/cm-1/undeploy", None, "undeploy:cm-1", _DASHED, "modelId", "MODELS", "UNDEPLOY"),
    ("/guardrails/deploy", _TOXICITY, "deploy:Toxicity", _DASHED, "modelId", "GUARDRAILS", "DEPLOY"),
    ("/guardrails/undeploy", _TOXICITY, "undeploy:Toxicity", _PLAIN, "toolId", "GUARDRAILS", "UNDEPLOY"),
    ("upload", "m.tar", "import:m.tar", {"dock-statusId", "dockstatusId"}, "modelId", "MODELS", "EXPORT"),
]
_SCRIPTS: Final = [each[2] for each in _TRIGGERS]
_PATHS: Final = [each[0] for each in _TRIGGERS]


def _files(a: PlatformAsker) -> dict[str, str]:
    names = ("toolDataFileId", "flowDataFileId", "envVariablesFileId")
    return {name: a.fake.install_file(f"{name}.json") for name in names}


def _trigger(a: PlatformAsker, path: str, body: Any, now: float = 0.0) -> dict[str, Any]:
    if path == "upload":
        return _import_model(a, body, now)
    if body in ("files", "files+name"):
        body = _files(a) | ({"toolName": "T"} if body == "files+name" else {})
    return read(a.account("POST", path, body, now=now))


def _import_model(a: PlatformAsker, name: str, now: float) -> dict[str, Any]:
    start = {
        "fileContext": "model",
        "totalChunks": 1,
        "fileExtension": "tar",
        "fileName": name,
        "fileSize": 1,
    }
    upload_id = read(a.account("POST", "/files/session/start", start))["sessionId"]
    content = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n'
    content += b'--b\r\nContent-Disposition: form-data; name="chunkNumber"\r\n\r\n0\r\n--b--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    path = f"{PUBLIC}/files/session/{upload_id}"
    assert a.reply("POST", path, content, headers={**TOOLS_KEY, **kind}).is_success
    return read(a.account("POST", f"/files/session/{upload_id}/complete", now=now))


def _id(told: Mapping[str, Any]) -> str:
    (name,) = told.keys() & _IDS
    job_id: str = told[name]
    return job_id


def _poll(a: PlatformAsker, job_id: str, now: float = 0.0) -> dict[str, Any]:
    return read(a.account("GET", f"/dock-status/{job_id}", now=now))


@pytest.mark.parametrize("trigger", _TRIGGERS, ids=_SCRIPTS)
def test_each_trigger_has_its_own_spelling(trigger: tuple[str, Any, str, set[str], str, str, str]) -> None:
    """A trigger tells the job's id in the sample's or the table's spelling, its target, kind, action and status."""
    path, body, script, ids, target, kind, action = trigger
    a = asker(scripts={script: _SLOW})
    told = [_trigger(a, path, body) for _ in range(6)]
    assert {name for each in told for name in each if name in _IDS} == ids
    assert all(each[target] for each in told)
    assert {each["jobType"].removesuffix("S") for each in told} == {kind.removesuffix("S")}
    assert {each["jobType"] for each in told} == ({kind} if kind == "TOOLS" else {kind, kind[:-1]})
    assert {each["action"] for each in told} == {action}
    assert {each["status"] for each in told} == {"IN_PROGRESS", "IN PROGRESS", "IN_ PROGRESS"}
    assert a.count("starts") == a.count("dock_jobs") == 6
    assert {a.fake.ended_at(_id(each)) for each in told} == {10.0}


@pytest.mark.parametrize("trigger", _TRIGGERS, ids=_SCRIPTS)
def test_every_job_can_be_looked_at(trigger: tuple[str, Any, str, set[str], str, str, str]) -> None:
    """A dock status tells id, kind, action and status; a tool's names the tool, others in no one way."""
    path, body, script, _, target, *_ = trigger
    a = asker(scripts={script: _SLOW})
    begun = _trigger(a, path, body, now=5.0)
    told = [_poll(a, _id(begun), now) for now in (5.0, 14.9, 15.0, 99.0)]
    assert {each["_id"] for each in told} == {_id(begun)}
    assert [each["status"] for each in told[2:]] == ["SUCCESS", "SUCCESS"]
    assert not {each["status"] for each in told[:2]} & {"SUCCESS", "FAILED"}
    assert {each["action"] for each in told} == {begun["action"]}
    named = [tuple(name for name in ("toolId", "modelId") if name in each) for each in told]
    if begun["jobType"] == "TOOLS":
        assert set(named) == {("toolId",)}
        assert {each["toolId"] for each in told} == {begun[target]}
    else:
        assert set(named) == {("toolId",), ("modelId",), ()}
    assert a.count("polls") == 4


@pytest.mark.parametrize("path", _PATHS)
def test_triggers_may_be_over_at_once(path: str) -> None:
    """Each trigger may tell an end already, good or bad."""
    body = next(each[1] for each in _TRIGGERS if each[0] == path)
    a = asker(scripts={}, at_once=1.0)
    words = {_trigger(a, path, body)["status"] for _ in range(40)}
    assert words == {"SUCCESS", "FAILED"}
    b = asker(scripts={}, at_once=0.0)
    assert not {_trigger(b, path, body)["status"] for _ in range(9)} & words


def test_acceptance_may_be_200_or_202() -> None:
    """What begins a job is answered with either status."""
    a = asker()
    assert {a.account("POST", "/tools/a-1/undeploy").status for _ in range(2)} == {200, 202}


def test_an_unknown_job_is_not_found() -> None:
    """A look at a job that does not exist is refused and is no poll."""
    a = asker()
    assert a.account("GET", "/dock-status/ds-0").status == 404
    assert a.count("polls") == 0


def test_a_deployment_may_be_waited_for() -> None:
    """With `isAsync` false a tool's deployment is answered at its end, or at once where it is over."""
    a = asker(scripts={"deploy:a-1": _SLOW, "deploy:a-2": (Step("FAILED"),)})
    answer = a.ask("POST", f"{PUBLIC}/tools/a-1/deploy", {"isAsync": False}, headers=TOOLS_KEY, now=3.0)
    assert isinstance(answer, DelayedReply)
    assert answer.until == 13.0
    assert awaited(answer)["status"] == "SUCCESS"
    assert read(a.account("POST", "/tools/a-2/deploy", {"isAsync": False}))["status"] == "FAILED"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tools/a-1/deploy", {}, 400),
        ("/tools/a-1/deploy", {"isAsync": "true"}, 400),
        ("/tools/a-1/deploy", None, 400),
        ("/tools/unknown/deploy", {"isAsync": True}, 404),
        ("/tools/unknown/undeploy", None, 404),
        ("/tools/unknown/export", None, 404),
        ("/tools/a-1/export?flowId=unknown", None, 404),
        ("/models/unknown/export", None, 404),
        ("/models/unknown/undeploy", None, 404),
        ("/models/unknown/deploy?modelType=openSource", _DEPLOYMENT, 404),
        ("/models/cm-1/deploy", _DEPLOYMENT, 400),
        ("/models/cm-1/deploy?modelType=opensource", _DEPLOYMENT, 400),
        (_DEPLOY_MODEL, None, 400),
        ("/guardrails/deploy", {"name": "toxicity"}, 400),
        ("/guardrails/deploy", {}, 400),
        ("/guardrails/undeploy", {"name": 7}, 400),
    ],
)
def test_triggers_are_read_strictly(path: str, body: Any, status: int) -> None:
    """What is missing, misspelled or unknown begins nothing."""
    a = asker()
    assert a.account("POST", path, body).status == status
    assert (a.count("starts"), a.count(f"refused_{status}")) == (0, 1)


@pytest.mark.parametrize("path", ["/tools/import", "/tools/a-1/import"])
@pytest.mark.parametrize(
    ("left_out", "is_needed"),
    [
        ("toolDataFileId", (True, True)),
        ("flowDataFileId", (True, True)),
        ("envVariablesFileId", (False, True)),
    ],
)
def test_imports_need_their_files(path: str, left_out: str, is_needed: tuple[bool, bool]) -> None:
    """All files are needed, but for a new tool's variables; each has to be uploaded before."""
    a, must = asker(quirks=False), is_needed[path != "/tools/import"]
    files = _files(a) | {"toolName": "T"}
    without = {name: value for name, value in files.items() if name != left_out}
    assert a.account("POST", path, without).status == (400 if must else 200)
    assert a.account("POST", path, files | {left_out: "0" * 24}).status == 400
    assert a.account("POST", path, files | {left_out: 7}).status == 400
    assert a.account("POST", path, files).status == 200


def test_a_new_tool_has_a_name_and_gets_an_id() -> None:
    """A new tool's import needs its name, and each gets an id of its own; an existing tool keeps its own."""
    a = asker()
    assert a.account("POST", "/tools/import", _files(a)).status == 400
    assert a.account("POST", "/tools/unknown/import", _files(a)).status == 404
    ids = {_trigger(a, "/tools/import", "files+name")["toolId"] for _ in range(3)}
    assert len(ids) == 3
    assert _trigger(a, "/tools/a-1/import", "files")["toolId"] == "a-1"


def test_a_flow_may_be_needed() -> None:
    """An export without its flow is refused where the rules say it is needed."""
    a = asker(flow_id_needed=True)
    assert a.account("POST", "/tools/a-1/export").status == 400
    assert a.account("POST", "/tools/a-1/export?callflowId=f").status == 400
    assert a.account("POST", "/tools/a-1/export?flowId=f").is_success


def _changed(path: str, value: Any) -> dict[str, Any]:
    body = {name: dict(each) if isinstance(each, dict) else each for name, each in _DEPLOYMENT.items()}
    *outer, leaf = path.split(".")
    (body[outer[0]] if outer else body)[leaf] = value
    return body


@pytest.mark.parametrize(
    ("path", "bad", "good"),
    [
        ("name", (None, "", 7), ("x",)),
        ("isDeployedPreviously", ("true", 1), (None, False)),
        ("deviceType", (None, "g4dn", 7), DEVICES),
        ("hyperParameters", (None, [], {}), ()),
        ("hyperParameters.temperature", (None, -0.1, 2.1, "1", True), (0, 2, 1.5)),
        ("hyperParameters.maxTokens", (None, -1, 513, 1.0, True), (0, 512)),
        ("hyperParameters.topP", (None, 1.1, -1), (0.0, 1)),
        ("hyperParameters.topK", (None, 0, 101, 1.5), (1, 100)),
        ("hyperParameters.stopSequence", ("x",), (None, ["x", 7])),
        ("scalingParameters", ("x",), (None, {})),
        ("scalingParameters.maxBatchSize", (0, 257, 1.5), (None, 1)),
        ("scalingParameters.minReplicas", (0, 11), (None, 10)),
        ("scalingParameters.maxReplicas", (0, 51), (None, 1)),
        ("scalingParameters.scaleUpDelay", (0, 1001), (None, 1)),
        ("scalingParameters.scaleDownDelay", (49, 2001), (None, 2000)),
        ("optimizationInfo", (7,), (None, {})),
        ("optimizationInfo.optimizationType", ("tensorrt",), (None, "vllm", "ctranslate2")),
        ("optimizationInfo.quantizationType", ("int4", 7), (None, "", "int8_float16")),
    ],
)
def test_a_models_deployment_is_read_leaf_by_leaf(
    path: str, bad: tuple[Any, ...], good: tuple[Any, ...]
) -> None:
    """Each member has its kind and its range, the bounds among it."""
    a = asker()
    assert {a.account("POST", _DEPLOY_MODEL, _changed(path, value)).status for value in bad} == {400}
    assert all(a.account("POST", _DEPLOY_MODEL, _changed(path, value)).is_success for value in good)
    assert a.count("starts") == len(good)


@pytest.mark.parametrize(("model_type", "status"), [("openSource", 400), ("fineTune", 400)])
def test_a_first_deployment_is_done_by_hand(model_type: str, status: int) -> None:
    """A model that was never deployed is not deployed here; any other is."""
    a = asker(never_deployed=frozenset({"cm-new"}))
    assert a.account("POST", f"/models/cm-new/deploy?modelType={model_type}", _DEPLOYMENT).status == status
    assert a.account("POST", f"/models/cm-1/deploy?modelType={model_type}", _DEPLOYMENT).is_success


def test_guardrails_have_six_names() -> None:
    """Each guardrail has a model of its own, which stays the same."""
    a = asker()
    ids = [_trigger(a, "/guardrails/deploy", {"name": name})["modelId"] for name in GUARDRAILS]
    assert len(set(ids)) == 6
    assert [_trigger(a, "/guardrails/undeploy", {"name": name})["toolId"] for name in GUARDRAILS] == ids


def _url(told: Mapping[str, Any]) -> str:
    (name,) = told["response"]
    url: str = told["response"][name]
    assert url.startswith(" http://127.0.0.1:1/")
    return url.strip().removeprefix("http://127.0.0.1:1")


def test_a_tools_export_tells_its_url_too_early() -> None:
    """The trigger has the URL, behind a space, under either name, before there is anything to fetch."""
    a = asker(scripts={"export:a-1": _SLOW})
    told = [_trigger(a, "/tools/a-1/export", None) for _ in range(2)]
    assert {name for each in told for name in each["response"]} == {"downloadUrl", "downloadURL"}
    assert all(each["exportJobId"].startswith("tool-ej-") for each in told)
    url = _url(told[0])
    assert a.reply("GET", url, headers={}, now=9.9).status == 404
    reply = a.reply("GET", url, headers={}, now=10.0)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    with ZipFile(BytesIO(reply.body)) as archive:
        assert archive.namelist() == ["app_definition.json", "flow_definition.json", "env_variables.json"]
        assert decode_json(archive.read("app_definition.json")) == {
            "of": "a-1",
            "file": "app_definition.json",
        }
    assert reply.body == a.reply("GET", url, headers={}, now=11.0).body
    assert (a.count("downloads"), a.count("downloads_with_key")) == (2, 0)


def test_a_models_export_tells_how_far_it_is() -> None:
    """A model's export has a percentage, and its URL once it is there, in the trigger's answer and the status."""
    a = asker(
        scripts={
            "export:cm-1": _SLOW,
            "export:cm-2": (Step("SUCCESS"),),
            "export:cm-3": (Step("IN_PROGRESS"),),
        }
    )
    told = _trigger(a, "/models/cm-1/export", None, now=5.0)
    assert (told["percentageComplete"], "response" in told) == (0, False)
    polls = [_poll(a, _id(told), now) for now in (5.0, 7.5, 14.99, 15.0)]
    assert [each["percentageComplete"] for each in polls] == [0, 25, 99, 100]
    assert ["response" in each for each in polls] == [False, False, False, True]
    assert a.reply("GET", _url(polls[-1]), headers={}, now=15.0).is_success
    at_once = _trigger(a, "/models/cm-2/export", None)
    assert (at_once["status"], at_once["percentageComplete"]) == ("SUCCESS", 100)
    assert a.reply("GET", _url(at_once), headers={}).is_success
    assert _poll(a, _id(_trigger(a, "/models/cm-3/export", None)), 500.0)["percentageComplete"] == 0


def test_a_failed_export_gives_nothing() -> None:
    """An export that failed has no URL in its status, and nothing behind the one that its trigger told."""
    a = asker(scripts={"export:a-1": (Step("FAILED"),)})
    told = _trigger(a, "/tools/a-1/export", None)
    assert "response" not in _poll(a, _id(told))
    assert a.reply("GET", _url(told), headers={}).status == 404


def test_a_status_may_tell_nothing_of_downloads() -> None:
    """With such rules the URL of an export is told by its trigger alone; other jobs have none anyway."""
    a = asker(downloads_in_status=False, scripts={"export:a-1": (Step("SUCCESS"),)})
    told = _poll(a, _id(_trigger(a, "/tools/a-1/export", None)))
    assert not {"response", "percentageComplete"} & set(told)
    b = asker()
    assert "response" not in _poll(b, _id(_trigger(b, "/tools/a-1/undeploy", None)), 500.0)


@pytest.mark.parametrize(("old", "new"), [("&s=", "&s=0"), ("?e=", "?e=9"), ("?e=", "?f="), (".zip", ".tar")])
def test_downloads_are_signed(old: str, new: str) -> None:
    """A URL that was changed opens nothing, nor does one whose time is over."""
    a = asker(scripts={"export:a-1": (Step("SUCCESS"),)})
    url = _url(_trigger(a, "/tools/a-1/export", None))
    assert a.reply("GET", url.replace(old, new), headers={}).status == 403
    assert a.reply("GET", url, headers={}, now=3_000_000.0).status == 403
    assert a.count("downloads") == 0


@pytest.mark.parametrize("headers", [APP_KEY, TOOLS_KEY])
def test_keys_that_go_along_are_counted(headers: Mapping[str, str]) -> None:
    """A download with a key is answered, and counted: the key was shown to whoever keeps the files."""
    a = asker(scripts={"export:a-1": (Step("SUCCESS"),)})
    url = _url(_trigger(a, "/tools/a-1/export", None))
    assert isinstance(a.ask("GET", url, headers=headers), Reply)
    assert (a.count("downloads"), a.count("downloads_with_key")) == (1, 1)


def test_the_url_leads_to_where_the_export_was_asked_for() -> None:
    """The host is the one that the request names in its header."""
    a = asker(scripts={"export:a-1": (Step("SUCCESS"),)})
    told = read(a.reply("POST", f"{PUBLIC}/tools/a-1/export", headers={**TOOLS_KEY, "host": "127.0.0.1:77"}))
    (url,) = told["response"].values()
    assert url.startswith(" http://127.0.0.1:77/api/v1/account/")


def test_drawn_jobs_follow_the_plan() -> None:
    """Without a script, a job takes and ends as drawn, some at once; the same seed draws the same."""

    def drawn(seed: int) -> list[tuple[float | None, str]]:
        a = asker(plan={"seed": seed}, scripts={})
        jobs = [_id(_trigger(a, "/tools/a-1/undeploy", None)) for _ in range(40)]
        return [(a.fake.ended_at(job), _poll(a, job, 1e6)["status"]) for job in jobs]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {status for _, status in drawn(1)} == {"SUCCESS", "FAILED"}
    assert 2 <= sum(ended_at == 0.0 for ended_at, _ in drawn(1)) <= 20
