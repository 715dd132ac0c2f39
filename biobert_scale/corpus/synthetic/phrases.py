"""Sub-phrases and numbers that the frames are composed of (notation: see `grammar`)."""

from __future__ import annotations

import random
from collections.abc import Callable

from biobert_scale.corpus.synthetic.grammar import RAISED, RAISED_END

PHRASES = {
    "patients": (
        "[[{severity} |]patients|adult patients|children|elderly patients|women|men|hospitalised"
        " patients|outpatients|individuals]"
    ),
    "severity": "[consecutive|young|untreated|pregnant|selected|ambulatory|newly admitted|unrelated]",
    "animals": "[rats|mice|rabbits|guinea pigs|{adult} mice|{adult} rats|transgenic mice|dogs|zebrafish]",
    "adult": "[adult|male|female|aged|anaesthetised|wild-type]",
    "often": "[often|frequently|commonly|rarely|sometimes|usually|occasionally]",
    "known": (
        "[a common|a rare|a serious|an important|a poorly understood|a disabling|a life-threatening|a well"
        " known]"
    ),
    "hard": (
        "[mild|severe|moderate|advanced|early|persistent|recurrent|acute|overt|symptomatic|untreated|refractory]"
    ),
    "gave": "[was given|was administered|was infused|was injected|was prescribed]",
    "route": (
        "[orally|intravenously|by intraperitoneal injection|in the drinking water|by"
        " infusion|subcutaneously|once a day]"
    ),
    "reduced": "[reduced|lowered|decreased|suppressed|diminished|attenuated|abolished]",
    "raised": "[increased|raised|elevated|enhanced|augmented|doubled]",
    "changed": "[{markedly}{reduced}|{markedly}{raised}|did not change|{markedly}altered|hardly changed]",
    "moved": (
        "[fell {slightly}|rose {slightly}|did not change|declined {slightly}|improved {slightly}|was stable]"
    ),
    "slightly": "[slightly|markedly|steadily|twofold|by {pct}]",
    "markedly": "[markedly |significantly |slightly |strongly |moderately |clearly |]",
    "showed": "[showed|demonstrated|revealed|indicated|suggested|confirmed]",
    "studied": "[studied|examined|investigated|evaluated|assessed|analysed|measured|compared]",
    "aim": (
        "[The aim of this study was|The purpose of this work was|Our objective was|We set out|This study was"
        " designed|We sought]"
    ),
    "however": (
        "[However, |In addition, |Moreover, |By contrast, |Interestingly, |Furthermore, |Of note, |||]"
    ),
    "inresults": (
        "[Surprisingly, |Consistent with this, |In this setting, |Overall, |After adjustment, |At follow-up,"
        " ||||]"
    ),
    "together": (
        "[Taken together, |In conclusion, |In summary, |Thus, |Collectively, |We conclude that |These"
        " findings suggest that ]"
    ),
    "stats": (
        "[({p})|({p})|(n = {n})|({pct} versus {pct}; {p})|compared with controls|compared with"
        " placebo|relative to baseline]"
    ),
    "control": (
        "[controls|healthy volunteers|the placebo group|untreated animals|matched controls|the vehicle group]"
    ),
    "unknown": "[unknown|unclear|controversial|poorly defined|incompletely understood|a matter of debate]",
    "important": "[important|essential|critical|required|sufficient|dispensable]",
    "method": (
        "[immunoblotting|flow cytometry|mass spectrometry|sequencing|immunohistochemistry|real-time"
        " PCR|radioimmunoassay|microscopy]"
    ),
    "design": (
        "[prospective|retrospective|randomised|double-blind|multicentre|cross-sectional|population-based|observational]"
    ),
    "trial": "[study|trial|analysis|survey|series]",
    "mutation": (
        "[missense mutation|nonsense mutation|deletion|splice variant|frameshift"
        " mutation|duplication|insertion|founder mutation]"
    ),
    "carriers": "[carriers|heterozygotes|affected siblings|probands|families|relatives|sporadic cases]",
    "later": (
        "[after {weeks}|within {days}|during follow-up|at discharge|over time|within hours|at the last visit]"
    ),
    "therapy": "[therapy|treatment|administration|exposure|infusion|withdrawal|pretreatment]",
    "tumour": "[tumour|cancer|malignant|carcinoma|neoplastic|transformed]",
    "cells": (
        "[<L> cells|{tumour} cells|cultured <T>|primary cultures|xenografts|human tumour samples|the <L>"
        " line]"
    ),
}


def _percent(rng: random.Random) -> str:
    return f"{rng.randrange(2, 98)}%"


def _p_value(rng: random.Random) -> str:
    return rng.choice(("P < 0.001", "P < 0.01", "P < 0.05", "P = 0.02", "P = 0.03", "P = 0.004"))


def _dose(rng: random.Random) -> str:
    amount = rng.choice((1, 2, 5, 10, 20, 50, 100, 200))
    return f"{amount} " + rng.choice(
        ("mg/kg", "mg", "mg daily", "micrograms/kg", f"mg m{RAISED}-2{RAISED_END}")
    )


def _concentration(rng: random.Random) -> str:
    return f"{rng.choice((1, 5, 10, 20, 50, 100))} " + rng.choice(
        ("μM", "nM", "nmol/L", f"mol L{RAISED}-1{RAISED_END}")
    )


def _cell_number(rng: random.Random) -> str:
    return f"{rng.randrange(1, 6)} x 10{RAISED}{rng.randrange(4, 8)}{RAISED_END}"


NUMBERS: dict[str, Callable[[random.Random], str]] = {
    "n": lambda rng: str(
        rng.choice((8, 12, 16, 20, 24, 30, 36, 40, 48, 60, 72, 80, 96, 100, 120, 150, 200, 240, 300))
    ),
    "chromosome": lambda rng: f"{rng.randrange(1, 23)}{rng.choice('pq')}{rng.randrange(11, 36)}",
    "age": lambda rng: str(rng.randrange(18, 86)),
    "years": lambda rng: f"{rng.randrange(2, 12)} years",
    "weeks": lambda rng: f"{rng.choice((2, 3, 4, 6, 8, 12, 24))} weeks",
    "days": lambda rng: f"{rng.choice((2, 3, 5, 7, 10, 14, 21, 28))} days",
    "fold": lambda rng: f"{rng.choice(('two', 'three', 'four', 'five'))}-fold",
    "pct": _percent,
    "p": _p_value,
    "dose": _dose,
    "conc": _concentration,
    "cellnumber": _cell_number,
}
