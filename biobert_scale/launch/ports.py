"""Where the ranks of a run on one machine meet."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A free TCP port of this machine, of those that the system gives to no connection by itself: none takes
    it before the launcher listens."""
    while True:
        port = random.SystemRandom().randrange(15000, 30000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
