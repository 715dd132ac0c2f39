"""How far a long download is: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from tqdm import tqdm

_log = logging.getLogger(__name__)
_SECONDS = 30.0


class Progress:
    """`with Progress(total) as progress`: counts articles and bytes, and says how long the rest takes."""

    def __init__(self, total: int | None) -> None:
        """`total`: articles, None where nobody knows."""
        self.total, self.done, self.bytes = total, 0, 0
        self._bar = tqdm(total=total, unit=" articles", disable=None, smoothing=0.02)
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, fetched_bytes: int, *, waits: int) -> None:
        """One article more; `waits`: how often the server was waited for so far."""
        self.done += 1
        self.bytes += fetched_bytes
        now = time.monotonic()
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{human(self.bytes)}, {waits} waits", refresh=False)
            self._bar.update()
        elif now > self._said + _SECONDS:
            self._said = now
            rate = self.done / (now - self._began)
            of, left = "", ""
            if self.total is not None:
                of, left = (
                    f" of {self.total}",
                    f", {tqdm.format_interval((self.total - self.done) / rate)} to go",
                )
            _log.info(
                "%d%s articles, %s, %.0f articles/s%s; waited for the server %d times",
                self.done,
                of,
                human(self.bytes),
                rate,
                left,
                waits,
            )


def human(number: float) -> str:
    return f"{tqdm.format_sizeof(number)}B"
