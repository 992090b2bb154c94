"""Kore Agent Platform: attachments, the files that users send to an app."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from attrs import field, frozen

from ...codec import member
from ...contract import Uploadable, check_text, file_form, open_upload, path_segment
from ...errors import NotFound, ReplyError
from ...model import Reply
from ...tracebacks import hides_locals
from .calls import Calls
from .identity import Identity
from .settings import VENDOR
from .wire import KORE, form_request, request


@frozen(kw_only=True)
class UploadedAttachment:
    """An uploaded attachment. Runs use it from the one that first includes its `file_id`."""

    file_id: str
    file_name: str = field(default="", repr=False)
    mime_type: str = member("mimeType", "fileType", default="")
    extension: str = ""
    size: int | None = member("fileSize", default=None)
    path: str = member("filePath", default="", repr=False)
    uploaded_at: datetime | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


class Attachments:
    """The attachments of an app, available as `AgentPlatform.attachments`.

    All methods raise `ReplyError`, `TransportError`, `DecodeError` and `PoolClosed`, and ValueError or TypeError for
    arguments that cannot be sent. Requests that fail for a passing reason are retried.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.url}/attachments"

    @hides_locals
    async def upload(
        self, file: Uploadable, *, user_reference: str, file_name: str | None = None
    ) -> UploadedAttachment:
        """Upload a file for a user: a path, bytes, a stream or an open file, which is read while it is sent.

        Everything but a path needs a `file_name`. A stream can be read only once, so that it is not sent again after
        a lost reply; other files are, which may leave a second copy that no run uses. Runs include the file by
        `RunFiles`. `Session.limits` has the types and sizes that an app accepts. Raises OSError for a file that
        cannot be read. Agent Platform API, section 6.7.
        """
        fields = {"userReference": check_text(user_reference, "user_reference"), "uploadType": "runtime"}
        async with open_upload(file, file_name) as source:
            pieces = partial(source.open, 0, source.size)
            form = file_form(fields, source.name, pieces, size=source.size, is_once=source.is_once)
            upload = form_request(f"{self._url}/upload", "attachments.upload", form)
            return await self._calls.call(upload, _read_upload)

    async def delete(
        self, file_id: str, *, session_id: str | None = None, session_reference: str | None = None
    ) -> None:
        """Delete an attachment, optionally naming its session.

        Raises `NotFound`, but not after a retry, since an earlier attempt may have deleted it, and `ReplyError` if
        the answer says that it was not deleted. Agent Platform API, section 6.8.
        """
        body = None
        if session_id is not None or session_reference is not None:
            body = dict(Identity.of(session_id, session_reference).pairs())
        url = f"{self._url}/{path_segment(file_id, 'file_id')}"
        deletion = request(url, "attachments.delete", body, method="DELETE")
        try:
            await self._calls.call(deletion, _read_deletion)
        except NotFound as error:
            if error.tries == 1:
                raise


@frozen
class _Deletion:
    success: bool | None = None
    message: str = ""


_read_upload: Final = KORE.reader(UploadedAttachment)


def _read_deletion(reply: Reply, call: str) -> None:
    """Read the answer to a deletion, where `success` is a string. An empty body counts as success."""
    if not reply.body.strip():
        return
    found = KORE.reader(_Deletion)(reply, call)
    if found.success is False:
        raise ReplyError(
            f"{VENDOR}: the answer to {call} says that nothing was deleted",
            vendor=VENDOR,
            call=call,
            status=reply.status,
            detail=found.message[:500],
        )
