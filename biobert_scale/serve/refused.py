"""How a request is refused: a status, and one line."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from biobert_scale.errors import UserError


class Refused(UserError):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        what, where, remedy: see `UserError`.
        retry_seconds: when another try is worth it.
    """

    def __init__(self, status: int, what: str, *, where: str, remedy: str, retry_seconds: int = 0) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.status, self.retry_seconds = status, retry_seconds

    def answer(self) -> Response:
        """`{"error", "what", "where", "remedy"}`: the line, and its parts."""
        headers = {"Retry-After": str(self.retry_seconds)} if self.retry_seconds else {}
        if self.status == 408:  # After other errors uvicorn reads, and drops, what is still being sent.
            headers["Connection"] = "close"
        parts = {"error": str(self), "what": self.what, "where": self.where, "remedy": self.remedy}
        return JSONResponse(parts, status_code=self.status, headers=headers)
