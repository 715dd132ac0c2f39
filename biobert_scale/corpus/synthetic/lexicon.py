"""The invented words: diseases, chemicals, genes, procedures, devices and more, built from shared morphemes.

Names of all kinds share their stems, and about half of them share their endings too, so that a name's form
shows only partly what it is: the contexts it is used in show the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from biobert_scale.corpus.synthetic.tables import table

CUES_PER_HALLMARK = 10
_CONSONANTS, _VOWELS = "BCDFGKLMNPRSTVXZ", "AEIO"


@dataclass(frozen=True, kw_only=True)
class Name:
    """One thing of the invented world and what it is called."""

    kind: str
    identifier: str
    text: str
    abbreviation: str = ""
    seen: bool = True
    """Whether benchmark training sets may use it; the test sets use the others too."""


@dataclass(frozen=True, kw_only=True)
class Composite:
    """Two diseases that are named together in some words."""

    first: Name
    second: Name
    words: str


@dataclass(frozen=True, kw_only=True)
class Field:
    """A medical field: things that are used together in a document mostly come from one."""

    adjective: str
    organ: str
    parts: tuple[str, ...]
    measurements: tuple[str, ...]
    names: dict[str, tuple[Name, ...]]
    """Names by kind: disease, chemical, gene, procedure, device, process, scale, line, organism."""
    disease_class: str
    """Identifier of "<adjective> disease" as a class."""
    composite: Composite


@dataclass(frozen=True, kw_only=True)
class Hallmark:
    cues: tuple[str, ...]
    """Words that stand for it, the familiar ones first."""
    epithet: str
    """The adjective that goes with its cues."""


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    fields: tuple[Field, ...]
    hallmarks: tuple[Hallmark, ...]
    """The ten hallmarks of cancer, in the order of the HoC labels."""


def build_lexicon(seed: int) -> Lexicon:
    """All words of the invented world for a seed."""
    maker, words = _Maker(random.Random(f"lexicon/{seed}")), table("words")
    return Lexicon(
        fields=tuple(maker.field(**field) for field in words["fields"]),
        hallmarks=tuple(maker.hallmark(**hallmark) for hallmark in words["hallmarks"]),
    )


class _Maker:
    """Makes words that are all different."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.words = rng, table("words")
        self.used: set[str] = set()
        self.number = 900_000

    def field(self, adjective: str, organ: str, parts: list[str], measurements: list[str]) -> Field:
        diseases, composite = self.diseases()
        names = {
            "disease": diseases,
            "chemical": tuple(self.chemical(i) for i in range(21)),
            "gene": tuple(self.gene(i) for i in range(14)),
            "procedure": tuple(self.name("procedure", self.word("procedure")) for _ in range(7)),
            "device": tuple(self.name("device", self.word("device").capitalize()) for _ in range(6)),
            "process": tuple(self.name("process", self.word("process")) for _ in range(9)),
            "scale": tuple(self.scale() for _ in range(3)),
            "line": tuple(self.name("line", self.code()) for _ in range(4)),
            "organism": tuple(self.name("organism", self.organism()) for _ in range(3)),
        }
        return Field(
            adjective=adjective,
            organ=organ,
            parts=tuple(parts),
            measurements=tuple(measurements),
            names=names,
            disease_class=self.identifier(),
            composite=composite,
        )

    def word(self, kind: str) -> str:
        endings = self.words["endings"][kind]
        ending = self.rng.choice(endings["own" if self.rng.random() < 0.4 else "shared"])
        return self.unique(lambda: self.stem() + ending)

    def stem(self) -> str:
        first: str = self.rng.choice(self.words["stems"]["first"])
        middle: str = self.rng.choice(self.words["stems"]["middle"]) if self.rng.random() < 0.6 else ""
        return first + middle + self.rng.choice("bcdfglmnprstv")

    def unique(self, make: Callable[[], str]) -> str:
        while (word := make()).lower() in self.used:
            pass
        self.used.add(word.lower())
        return word

    def identifier(self) -> str:
        self.number += 1
        return f"D{self.number}"

    def name(self, kind: str, text: str, abbreviation: str = "") -> Name:
        identifier, seen = self.identifier(), self.rng.random() < 0.6
        return Name(kind=kind, identifier=identifier, text=text, abbreviation=abbreviation, seen=seen)

    def diseases(self) -> tuple[tuple[Name, ...], Composite]:
        """Twenty-one diseases of a field; the first two share a head noun and can be named together."""
        head = self.word("disease")
        first, second = (self.name("disease", f"{kind} {head}") for kind in ("familial", "sporadic"))
        singles = [self.name("disease", self.word("disease")) for _ in range(10)]
        composite = Composite(first=first, second=second, words=f"familial and sporadic {head}")
        return (first, second, *singles, *(self.long_disease() for _ in range(9))), composite

    def long_disease(self) -> Name:
        eponym = self.unique(self.stem).capitalize()
        head = self.word("disease")
        form = self.rng.randrange(5)
        # All five are made whichever is taken: each takes its words.
        text = (
            f"{self.qualifier()} {eponym} syndrome",
            f"{eponym} disease",
            f"{self.qualifier()} {head}",
            f"{eponym}-{self.unique(self.stem).capitalize()} syndrome",
            f"{self.qualifier()} {head} deficiency",
        )[form]
        letters = "".join(part[0] for part in text.replace("-", " ").split()).upper()
        endings = ("", "D", "S", "X", "P")
        return self.name("disease", text, self.unique(lambda: letters + self.rng.choice(endings)))

    def qualifier(self) -> str:
        return str(self.rng.choice(self.words["qualifiers"]))

    def chemical(self, index: int) -> Name:
        if index % 7 == 0:
            return self.name("chemical", self.code())
        word = self.word("chemical")
        text = self.rng.choice(self.words["salts"]).format(word) if index % 7 in (1, 2) else word
        letters = "".join(letter for letter in word.upper() if letter not in "AEIOU")[:3]
        short = self.unique(lambda: letters + self.rng.choice("ATZX")) if index % 7 in (1, 3) else ""
        return self.name("chemical", text, short)

    def gene(self, index: int) -> Name:
        return self.name("gene", self.word("protein") if index % 2 else self.symbol())

    def consonants(self) -> str:
        return "".join(self.rng.choices(_CONSONANTS, k=2))

    def symbol(self) -> str:
        third = _VOWELS + _CONSONANTS
        return self.unique(lambda: self.consonants() + self.rng.choice(third) + self.rng.choice("1234B"))

    def code(self) -> str:
        return self.unique(lambda: f"{self.consonants()}-{self.rng.randrange(11, 99)}")

    def scale(self) -> Name:
        kinds = ("index", "score", "test", "staining", "procedure", "classification")
        return self.name("scale", f"{self.unique(self.stem).capitalize()} {self.rng.choice(kinds)}")

    def organism(self) -> str:
        genus = self.unique(lambda: self.stem() + self.rng.choice(("ia", "ium", "ax"))).capitalize()
        return f"{genus} {self.unique(lambda: self.stem() + self.rng.choice(('ensis', 'alis', 'osa')))}"

    def hallmark(self, cues: list[str], epithet: str) -> Hallmark:
        endings = ("ation", "ance", "ing", "ment", "ity", "ure", "ism", "ogenesis", "ency")
        invented = [
            self.unique(lambda: self.stem() + self.rng.choice(endings))
            for _ in range(CUES_PER_HALLMARK - len(cues))
        ]
        return Hallmark(cues=(*cues, *invented), epithet=epithet)
