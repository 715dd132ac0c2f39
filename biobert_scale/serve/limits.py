"""What one request may cost."""

from __future__ import annotations

from dataclasses import dataclass

MAXIMUM_CHARACTERS = 1_000_000
"""Of all texts of a request: some ten full texts."""
MAXIMUM_DOCUMENTS = 10_000
"""Of a request."""
EXPANSION = 8
"""How many times larger than a request may be, decompressed, what it holds: XML of articles is a fifth."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the server takes on."""

    request_bytes: int = 10_000_000
    """Of a request's body."""
    request_seconds: float = 60
    """For the body to arrive, for the answer to be computed, and for it to be fetched: each."""
    waiting: int = 64
    """Requests at once; memory holds their bodies."""
