"""The numbers of the frames, by the name that stands for them there (notation: see `grammar`)."""

from __future__ import annotations

import random
from collections.abc import Callable

from biobert_scale.corpus.synthetic.grammar import RAISED, RAISED_END

_COUNTS = (8, 12, 16, 20, 24, 30, 36, 40, 48, 60, 72, 80, 96, 100, 120, 150, 200, 240, 300)
_P_VALUES = ("P < 0.001", "P < 0.01", "P < 0.05", "P = 0.02", "P = 0.03", "P = 0.004")
_DOSE_UNITS = ("mg/kg", "mg", "mg daily", "micrograms/kg", f"mg m{RAISED}-2{RAISED_END}")
_CONCENTRATION_UNITS = ("μM", "nM", "nmol/L", f"mol L{RAISED}-1{RAISED_END}")

NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "n": lambda rng: str(rng.choice(_COUNTS)),
    "chromosome": lambda rng: f"{rng.randrange(1, 23)}{rng.choice('pq')}{rng.randrange(11, 36)}",
    "age": lambda rng: str(rng.randrange(18, 86)),
    "years": lambda rng: f"{rng.randrange(2, 12)} years",
    "weeks": lambda rng: f"{rng.choice((2, 3, 4, 6, 8, 12, 24))} weeks",
    "days": lambda rng: f"{rng.choice((2, 3, 5, 7, 10, 14, 21, 28))} days",
    "fold": lambda rng: f"{rng.choice(('two', 'three', 'four', 'five'))}-fold",
    "pct": lambda rng: f"{rng.randrange(2, 98)}%",
    "p": lambda rng: rng.choice(_P_VALUES),
    "dose": lambda rng: f"{rng.choice((1, 2, 5, 10, 20, 50, 100, 200))} {rng.choice(_DOSE_UNITS)}",
    "conc": lambda rng: f"{rng.choice((1, 5, 10, 20, 50, 100))} {rng.choice(_CONCENTRATION_UNITS)}",
    "cellnumber": lambda rng: f"{rng.randrange(1, 6)} x 10{RAISED}{rng.randrange(4, 8)}{RAISED_END}",
}
