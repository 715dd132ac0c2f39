"""What many ranks cost a step: collectives by ring or by tree, and waiting for the slowest rank.

Times are those of the alpha-beta model (Thakur, Rabenseifner and Gropp 2005): every message costs a latency
and its bytes over a rate, and what a rank sends and receives at the same time counts once.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Links(NamedTuple):
    """What joins the ranks: their number `devices`, the slowest link's `rate` in bytes a second, and the
    `latency` of a message in seconds."""

    devices: int
    rate: float
    latency: float

    def all_reduce_seconds(self, sent: float, calls: int) -> float:
        """Seconds of all-reduces, each by ring or by tree, whichever is faster, as NCCL chooses.

        A ring has 2 (n - 1) messages one after another (Patarasuk and Yuan 2009). A pair of binary trees has
        2 log2(n), and every rank sends the whole buffer twice (Sanders, Speck and Träff 2009).

        Args:
            sent: bytes that a device sends in all of them by ring, 2 (n - 1) / n of the buffers.
            calls: into how many all-reduces of equal size they are divided.
        """
        if self.devices == 1:
            return 0.0
        ring = sent / self.rate + calls * 2 * (self.devices - 1) * self.latency
        whole = sent * self.devices / (self.devices - 1)
        tree = whole / self.rate + calls * 2 * math.ceil(math.log2(self.devices)) * self.latency
        return min(ring, tree)

    def gather_seconds(self, sent: float, calls: int) -> float:
        """Seconds of gathers or of reduce-scatters, by ring, in n - 1 messages; see `all_reduce_seconds`."""
        return 0.0 if self.devices == 1 else sent / self.rate + calls * (self.devices - 1) * self.latency


@functools.cache
def expected_maximum(draws: int) -> float:
    """Expected maximum of some draws from the standard normal distribution.

    A step waits for the slowest of n ranks: if their seconds have a mean m and a relative spread s, it takes
    m (1 + s `expected_maximum`(n)).
    """
    places = np.linspace(-8, 8, 4001)
    below = np.array([NormalDist().cdf(place) for place in places])
    return float(places[-1] - np.trapezoid(below**draws, places))  # by parts, F^n being the maximum's own
