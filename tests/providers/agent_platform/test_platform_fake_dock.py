"""The fake Agent Platform's dock jobs: how they are started, their status, and exports."""

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
    FakeClient,
    fake_client,
    read,
    read_held,
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
#: Each start of jobs: path, body, script, the spellings of the id, the name of the target, kind and action.
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


def _files(client: FakeClient) -> dict[str, str]:
    names = ("toolDataFileId", "flowDataFileId", "envVariablesFileId")
    return {name: client.fake.install_file(f"{name}.json") for name in names}


def _trigger(client: FakeClient, path: str, body: Any, now: float = 0.0) -> dict[str, Any]:
    if path == "upload":
        return _import_model(client, body, now)
    if body in ("files", "files+name"):
        body = _files(client) | ({"toolName": "T"} if body == "files+name" else {})
    return read(client.account("POST", path, body, now=now))


def _import_model(client: FakeClient, name: str, now: float) -> dict[str, Any]:
    start = {
        "fileContext": "model",
        "totalChunks": 1,
        "fileExtension": "tar",
        "fileName": name,
        "fileSize": 1,
    }
    upload_id = read(client.account("POST", "/files/session/start", start))["sessionId"]
    content = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n'
    content += b'--b\r\nContent-Disposition: form-data; name="chunkNumber"\r\n\r\n0\r\n--b--\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    path = f"{PUBLIC}/files/session/{upload_id}"
    assert client.reply("POST", path, content, headers={**TOOLS_KEY, **kind}).is_success
    return read(client.account("POST", f"/files/session/{upload_id}/complete", now=now))


def _id(answer: Mapping[str, Any]) -> str:
    (name,) = answer.keys() & _IDS
    job_id: str = answer[name]
    return job_id


def _poll(client: FakeClient, job_id: str, now: float = 0.0) -> dict[str, Any]:
    return read(client.account("GET", f"/dock-status/{job_id}", now=now))


@pytest.mark.parametrize("trigger", _TRIGGERS, ids=_SCRIPTS)
def test_each_trigger_has_its_own_spelling(trigger: tuple[str, Any, str, set[str], str, str, str]) -> None:
    """The answer to a start has the job's id in the spelling of sample or table, target, kind, action, status."""
    path, body, script, ids, target, kind, action = trigger
    client = fake_client(scripts={script: _SLOW})
    answers = [_trigger(client, path, body) for _ in range(6)]
    assert {name for each in answers for name in each if name in _IDS} == ids
    assert all(each[target] for each in answers)
    assert {each["jobType"].removesuffix("S") for each in answers} == {kind.removesuffix("S")}
    assert {each["jobType"] for each in answers} == ({kind} if kind == "TOOLS" else {kind, kind[:-1]})
    assert {each["action"] for each in answers} == {action}
    assert {each["status"] for each in answers} == {"IN_PROGRESS", "IN PROGRESS", "IN_ PROGRESS"}
    assert client.count("starts") == client.count("dock_jobs") == 6
    assert {client.fake.ended_at(_id(each)) for each in answers} == {10.0}


@pytest.mark.parametrize("trigger", _TRIGGERS, ids=_SCRIPTS)
def test_every_job_can_be_polled(trigger: tuple[str, Any, str, set[str], str, str, str]) -> None:
    """A dock status has id, kind, action and status; a tool's names the tool, others vary."""
    path, body, script, _, target, *_ = trigger
    client = fake_client(scripts={script: _SLOW})
    begun = _trigger(client, path, body, now=5.0)
    answers = [_poll(client, _id(begun), now) for now in (5.0, 14.9, 15.0, 99.0)]
    assert {each["_id"] for each in answers} == {_id(begun)}
    assert [each["status"] for each in answers[2:]] == ["SUCCESS", "SUCCESS"]
    assert not {each["status"] for each in answers[:2]} & {"SUCCESS", "FAILED"}
    assert {each["action"] for each in answers} == {begun["action"]}
    named = [tuple(name for name in ("toolId", "modelId") if name in each) for each in answers]
    if begun["jobType"] == "TOOLS":
        assert set(named) == {("toolId",)}
        assert {each["toolId"] for each in answers} == {begun[target]}
    else:
        assert set(named) == {("toolId",), ("modelId",), ()}
    assert client.count("polls") == 4


@pytest.mark.parametrize("path", _PATHS)
def test_jobs_may_be_over_at_the_start(path: str) -> None:
    """Any start may be answered with a final status, success or failure."""
    body = next(each[1] for each in _TRIGGERS if each[0] == path)
    client = fake_client(scripts={}, ended_at_start=1.0)
    words = {_trigger(client, path, body)["status"] for _ in range(40)}
    assert words == {"SUCCESS", "FAILED"}
    b = fake_client(scripts={}, ended_at_start=0.0)
    assert not {_trigger(b, path, body)["status"] for _ in range(9)} & words


def test_acceptance_may_be_200_or_202() -> None:
    """The start of a job is answered with either status."""
    client = fake_client()
    assert {client.account("POST", "/tools/a-1/undeploy").status for _ in range(2)} == {200, 202}


def test_an_unknown_job_is_not_found() -> None:
    """A poll of a job that does not exist is refused and not counted as a poll."""
    client = fake_client()
    assert client.account("GET", "/dock-status/ds-0").status == 404
    assert client.count("polls") == 0


def test_a_deployment_may_be_waited_for() -> None:
    """With `isAsync` false a tool's deployment is answered at its end, or immediately if it is over."""
    client = fake_client(scripts={"deploy:a-1": _SLOW, "deploy:a-2": (Step("FAILED"),)})
    answer = client.ask("POST", f"{PUBLIC}/tools/a-1/deploy", {"isAsync": False}, headers=TOOLS_KEY, now=3.0)
    assert isinstance(answer, DelayedReply)
    assert answer.until == 13.0
    assert read_held(answer)["status"] == "SUCCESS"
    assert read(client.account("POST", "/tools/a-2/deploy", {"isAsync": False}))["status"] == "FAILED"


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
def test_starts_of_jobs_are_read_strictly(path: str, body: Any, status: int) -> None:
    """A member that is missing, misspelled or unknown starts no job."""
    client = fake_client()
    assert client.account("POST", path, body).status == status
    assert (client.count("starts"), client.count(f"refused_{status}")) == (0, 1)


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
    """All files are needed, except a new tool's variables; each has to be uploaded first."""
    client, must = fake_client(quirks=False), is_needed[path != "/tools/import"]
    files = _files(client) | {"toolName": "T"}
    without = {name: value for name, value in files.items() if name != left_out}
    assert client.account("POST", path, without).status == (400 if must else 200)
    assert client.account("POST", path, files | {left_out: "0" * 24}).status == 400
    assert client.account("POST", path, files | {left_out: 7}).status == 400
    assert client.account("POST", path, files).status == 200


def test_a_new_tool_has_a_name_and_gets_an_id() -> None:
    """The import of a new tool needs a name and assigns an id; an existing tool keeps its id."""
    client = fake_client()
    assert client.account("POST", "/tools/import", _files(client)).status == 400
    assert client.account("POST", "/tools/unknown/import", _files(client)).status == 404
    ids = {_trigger(client, "/tools/import", "files+name")["toolId"] for _ in range(3)}
    assert len(ids) == 3
    assert _trigger(client, "/tools/a-1/import", "files")["toolId"] == "a-1"


def test_a_flow_may_be_needed() -> None:
    """An export without its flow is refused if the rules require one."""
    client = fake_client(flow_id_needed=True)
    assert client.account("POST", "/tools/a-1/export").status == 400
    assert client.account("POST", "/tools/a-1/export?callflowId=f").status == 400
    assert client.account("POST", "/tools/a-1/export?flowId=f").is_success


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
def test_each_member_of_a_models_deployment_is_checked(
    path: str, bad: tuple[Any, ...], good: tuple[Any, ...]
) -> None:
    """Each member has a type and a range that includes its bounds."""
    client = fake_client()
    assert {client.account("POST", _DEPLOY_MODEL, _changed(path, value)).status for value in bad} == {400}
    assert all(client.account("POST", _DEPLOY_MODEL, _changed(path, value)).is_success for value in good)
    assert client.count("starts") == len(good)


@pytest.mark.parametrize(("model_type", "status"), [("openSource", 400), ("fineTune", 400)])
def test_a_first_deployment_is_refused(model_type: str, status: int) -> None:
    """A model that was never deployed is refused; any other is deployed."""
    client = fake_client(never_deployed=frozenset({"cm-new"}))
    assert (
        client.account("POST", f"/models/cm-new/deploy?modelType={model_type}", _DEPLOYMENT).status == status
    )
    assert client.account("POST", f"/models/cm-1/deploy?modelType={model_type}", _DEPLOYMENT).is_success


def test_guardrails_have_six_names() -> None:
    """Each guardrail has a model id of its own, which stays the same."""
    client = fake_client()
    ids = [_trigger(client, "/guardrails/deploy", {"name": name})["modelId"] for name in GUARDRAILS]
    assert len(set(ids)) == 6
    assert [_trigger(client, "/guardrails/undeploy", {"name": name})["toolId"] for name in GUARDRAILS] == ids


def _url(answer: Mapping[str, Any]) -> str:
    (name,) = answer["response"]
    url: str = answer["response"][name]
    assert url.startswith(" http://127.0.0.1:1/")
    return url.strip().removeprefix("http://127.0.0.1:1")


def test_a_tools_export_has_its_url_too_early() -> None:
    """The answer to the start has the URL, after a space, in either spelling, before the file exists."""
    client = fake_client(scripts={"export:a-1": _SLOW})
    answers = [_trigger(client, "/tools/a-1/export", None) for _ in range(2)]
    assert {name for each in answers for name in each["response"]} == {"downloadUrl", "downloadURL"}
    assert all(each["exportJobId"].startswith("tool-ej-") for each in answers)
    url = _url(answers[0])
    assert client.reply("GET", url, headers={}, now=9.9).status == 404
    reply = client.reply("GET", url, headers={}, now=10.0)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    with ZipFile(BytesIO(reply.body)) as archive:
        assert archive.namelist() == ["app_definition.json", "flow_definition.json", "env_variables.json"]
        assert decode_json(archive.read("app_definition.json")) == {
            "of": "a-1",
            "file": "app_definition.json",
        }
    assert reply.body == client.reply("GET", url, headers={}, now=11.0).body
    assert (client.count("downloads"), client.count("downloads_with_key")) == (2, 0)


def test_a_models_export_has_a_percentage() -> None:
    """A model's export has a percentage, and its URL when the file exists, in the answer and the status."""
    client = fake_client(
        scripts={
            "export:cm-1": _SLOW,
            "export:cm-2": (Step("SUCCESS"),),
            "export:cm-3": (Step("IN_PROGRESS"),),
        }
    )
    answer = _trigger(client, "/models/cm-1/export", None, now=5.0)
    assert (answer["percentageComplete"], "response" in answer) == (0, False)
    polls = [_poll(client, _id(answer), now) for now in (5.0, 7.5, 14.99, 15.0)]
    assert [each["percentageComplete"] for each in polls] == [0, 25, 99, 100]
    assert ["response" in each for each in polls] == [False, False, False, True]
    assert client.reply("GET", _url(polls[-1]), headers={}, now=15.0).is_success
    at_once = _trigger(client, "/models/cm-2/export", None)
    assert (at_once["status"], at_once["percentageComplete"]) == ("SUCCESS", 100)
    assert client.reply("GET", _url(at_once), headers={}).is_success
    assert _poll(client, _id(_trigger(client, "/models/cm-3/export", None)), 500.0)["percentageComplete"] == 0


def test_a_failed_export_has_no_file() -> None:
    """A failed export has no URL in its status, and the URL of its start leads to no file."""
    client = fake_client(scripts={"export:a-1": (Step("FAILED"),)})
    answer = _trigger(client, "/tools/a-1/export", None)
    assert "response" not in _poll(client, _id(answer))
    assert client.reply("GET", _url(answer), headers={}).status == 404


def test_a_status_may_lack_the_download_url() -> None:
    """With such rules only the answer to the start has the URL of an export; other jobs have none anyway."""
    client = fake_client(downloads_in_status=False, scripts={"export:a-1": (Step("SUCCESS"),)})
    answer = _poll(client, _id(_trigger(client, "/tools/a-1/export", None)))
    assert not {"response", "percentageComplete"} & set(answer)
    b = fake_client()
    assert "response" not in _poll(b, _id(_trigger(b, "/tools/a-1/undeploy", None)), 500.0)


@pytest.mark.parametrize(("old", "new"), [("&s=", "&s=0"), ("?e=", "?e=9"), ("?e=", "?f="), (".zip", ".tar")])
def test_downloads_are_signed(old: str, new: str) -> None:
    """A URL that was changed or has expired is refused."""
    client = fake_client(scripts={"export:a-1": (Step("SUCCESS"),)})
    url = _url(_trigger(client, "/tools/a-1/export", None))
    assert client.reply("GET", url.replace(old, new), headers={}).status == 403
    assert client.reply("GET", url, headers={}, now=3_000_000.0).status == 403
    assert client.count("downloads") == 0


@pytest.mark.parametrize("headers", [APP_KEY, TOOLS_KEY])
def test_keys_sent_with_downloads_are_counted(headers: Mapping[str, str]) -> None:
    """A download with a key is answered and counted, since the key was disclosed to the file store."""
    client = fake_client(scripts={"export:a-1": (Step("SUCCESS"),)})
    url = _url(_trigger(client, "/tools/a-1/export", None))
    assert isinstance(client.ask("GET", url, headers=headers), Reply)
    assert (client.count("downloads"), client.count("downloads_with_key")) == (1, 1)


def test_the_url_has_the_host_of_the_request() -> None:
    """The host of the URL is that of the request's header."""
    client = fake_client(scripts={"export:a-1": (Step("SUCCESS"),)})
    answer = read(
        client.reply("POST", f"{PUBLIC}/tools/a-1/export", headers={**TOOLS_KEY, "host": "127.0.0.1:77"})
    )
    (url,) = answer["response"].values()
    assert url.startswith(" http://127.0.0.1:77/api/v1/account/")


def test_drawn_jobs_follow_the_plan() -> None:
    """Without a script, duration and end of a job are drawn, some at its start; a seed repeats them."""

    def drawn(seed: int) -> list[tuple[float | None, str]]:
        client = fake_client(plan={"seed": seed}, scripts={})
        jobs = [_id(_trigger(client, "/tools/a-1/undeploy", None)) for _ in range(40)]
        return [(client.fake.ended_at(job), _poll(client, job, 1e6)["status"]) for job in jobs]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {status for _, status in drawn(1)} == {"SUCCESS", "FAILED"}
    assert 2 <= sum(ended_at == 0.0 for ended_at, _ in drawn(1)) <= 20
