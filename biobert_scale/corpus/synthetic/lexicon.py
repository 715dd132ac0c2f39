"""The invented words: diseases, chemicals, genes, procedures, devices and more, built from shared morphemes.

Names of all kinds share their stems, and about half of them share their endings too, so that a name's form
shows only partly what it is: the contexts it is used in show the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_WORDS = (
    "vel dor kas lum pra nel tov bri mas cor zan fil gor hem lis mor quel ros sab tur ves wil yor dal fer gal"
    " jas kel lor mir nov ost pel rud sol tam ulm vor xan dru bel cav det fos gri hal jun kor lan mel ned pol"
)
FIRST = tuple(_FIRST_WORDS.split())
# fmt: off
MIDDLE = (
    "ma", "ro", "ti", "len", "dar", "vi", "co", "pe", "sta", "ru", "ni", "lo", "ba", "mi", "ter", "sa",
    "du", "fe", "la", "go",
)
# fmt: on
ENDINGS = {
    # kind: (endings of its own, endings it shares with others)
    "disease": (("itis", "opathy", "emia", "algia", "oma"), ("osis", "ia", "an", "ax", "ine", "ency")),
    "chemical": (("azole", "amide", "ate", "idone", "ol"), ("ine", "in", "an", "ax", "ium", "ia")),
    "protein": (("ase", "kin", "globin"), ("in", "ine", "an", "ax", "ol")),
    "procedure": (("ectomy", "oscopy", "ography"), ("osis", "ency", "ia", "an", "ine")),
    "device": (("tron", "meter"), ("ax", "an", "in", "ol", "ium")),
    "process": (("ogenesis", "olysis"), ("osis", "ency", "ia", "emia", "ine", "ium")),
}
# fmt: off
FIELDS = (
    # adjective, organ, parts, measurements
    ("renal", "kidney", "tubules|cortex|glomeruli|medulla",
     "creatinine clearance|urine output|filtration rate|urinary protein"),
    ("hepatic", "liver", "hepatocytes|bile ducts|sinusoids|portal tracts",
     "bilirubin level|transaminase activity|bile flow|liver weight"),
    ("cardiac", "heart", "ventricles|atria|valves|myocytes",
     "ejection fraction|heart rate|stroke volume|cardiac output"),
    ("pulmonary", "lung", "alveoli|bronchi|airways|pleura",
     "vital capacity|oxygen saturation|airflow|respiratory rate"),
    ("dermal", "skin", "epidermis|follicles|keratinocytes|dermis",
     "skin thickness|lesion area|hydration score|wound closure"),
    ("ocular", "eye", "retina|cornea|lens|optic nerve",
     "visual acuity|intraocular pressure|retinal thickness|tear volume"),
    ("gastric", "stomach", "mucosa|antrum|parietal cells|pylorus",
     "gastric acidity|emptying time|mucosal thickness|stool frequency"),
    ("cerebral", "brain", "hippocampus|neurons|white matter|cerebellum",
     "reaction time|memory score|gait speed|cortical volume"),
    ("skeletal", "bone", "trabeculae|osteoblasts|growth plate|cartilage",
     "bone density|grip strength|joint width|callus volume"),
    ("thyroid", "thyroid gland", "follicular cells|isthmus|colloid|thyroid lobes",
     "hormone level|gland volume|iodine uptake|basal rate"),
    ("vascular", "artery", "endothelium|intima|smooth muscle|capillaries",
     "systolic pressure|wall thickness|flow velocity|plaque area"),
    ("haematological", "bone marrow", "platelets|erythrocytes|stem cells|granulocytes",
     "platelet count|clotting time|iron store"),
)
# fmt: on
FAMILIAR_CUES = (
    "invasion metastasis migration motility",
    "tolerance immune-escape",
    "glycolysis energy-uptake",
    "telomere-upkeep immortality",
    "checkpoint-loss arrest-bypass",
    "instability mutation-load mismatch",
    "angiogenesis vessel-sprouting",
    "survival apoptosis-block",
    "proliferation mitogen-drive",
    "inflammation cytokine-release",
)
"""Of the ten hallmarks of cancer (Hanahan and Weinberg 2011), in the alphabetical order of their names:
the order of the HoC labels."""
# fmt: off
EPITHETS = (
    "stromal", "immunological", "metabolic", "telomeric", "antimitotic", "chromosomal", "hypoxic",
    "apoptotic", "mitogenic", "inflammatory",
)
# fmt: on
"""The adjective that goes with the cues of each hallmark: what a model can learn from the corpus about cues
that no training set has."""
CUES_PER_HALLMARK = 10
QUALIFIERS = ("juvenile", "hereditary", "chronic", "congenital", "familial", "idiopathic", "atypical")
SALTS = ("sodium {}", "calcium {}", "{} hydrochloride", "{} acetate", "methyl {}")
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
class Field:
    """A medical field with its own things: what is used together in a document mostly comes from one
    field."""

    adjective: str
    organ: str
    parts: tuple[str, ...]
    measurements: tuple[str, ...]
    names: dict[str, tuple[Name, ...]]
    """Names by kind: disease, chemical, gene, procedure, device, process, scale, line, organism."""
    disease_class: str
    """Identifier of "<adjective> disease" as a class."""
    composite: tuple[Name, Name, str]
    """Two diseases that are named together in the words of the third item."""


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    fields: tuple[Field, ...]
    cues: tuple[tuple[str, ...], ...]
    """Cue words of each hallmark, in the order of `FAMILIAR_CUES`."""


def build_lexicon(seed: int) -> Lexicon:
    """All words of the invented world for a seed."""
    maker = _Maker(random.Random(f"lexicon/{seed}"))
    return Lexicon(
        fields=tuple(maker.field(*row) for row in FIELDS),
        cues=tuple(maker.cues(words) for words in FAMILIAR_CUES),
    )


class _Maker:
    """Makes words that are all different."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.used: set[str] = set()
        self.number = 900_000

    def field(self, adjective: str, organ: str, parts: str, measurements: str) -> Field:
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
            parts=tuple(parts.split("|")),
            measurements=tuple(measurements.split("|")),
            names=names,
            disease_class=self.identifier(),
            composite=composite,
        )

    def word(self, kind: str) -> str:
        own, shared = ENDINGS[kind]
        ending = self.rng.choice(own if self.rng.random() < 0.4 else shared)
        return self.unique(lambda: self.stem() + ending)

    def stem(self) -> str:
        return (
            self.rng.choice(FIRST)
            + (self.rng.choice(MIDDLE) if self.rng.random() < 0.6 else "")
            + self.rng.choice("bcdfglmnprstv")
        )

    def unique(self, make: Callable[[], str]) -> str:
        while (word := make()).lower() in self.used:
            pass
        self.used.add(word.lower())
        return word

    def identifier(self) -> str:
        self.number += 1
        return f"D{self.number}"

    def name(self, kind: str, text: str, abbreviation: str = "") -> Name:
        return Name(
            kind=kind,
            identifier=self.identifier(),
            text=text,
            abbreviation=abbreviation,
            seen=self.rng.random() < 0.6,
        )

    def diseases(self) -> tuple[tuple[Name, ...], tuple[Name, Name, str]]:
        """Twenty-one diseases of a field; the first two share a head noun and can be named together."""
        head = self.word("disease")
        pair = [self.name("disease", f"{kind} {head}") for kind in ("familial", "sporadic")]
        singles = [self.name("disease", self.word("disease")) for _ in range(10)]
        return (*pair, *singles, *(self.long_disease() for _ in range(9))), (
            pair[0],
            pair[1],
            f"familial and sporadic {head}",
        )

    def long_disease(self) -> Name:
        eponym = self.unique(self.stem).capitalize()
        head = self.word("disease")
        form = self.rng.randrange(5)
        text = (
            f"{self.rng.choice(QUALIFIERS)} {eponym} syndrome",
            f"{eponym} disease",
            f"{self.rng.choice(QUALIFIERS)} {head}",
            f"{eponym}-{self.unique(self.stem).capitalize()} syndrome",
            f"{self.rng.choice(QUALIFIERS)} {head} deficiency",
        )[form]
        letters = "".join(part[0] for part in text.replace("-", " ").split()).upper()
        return self.name(
            "disease", text, self.unique(lambda: letters + self.rng.choice(("", "D", "S", "X", "P")))
        )

    def chemical(self, index: int) -> Name:
        if index % 7 == 0:
            return self.name("chemical", self.code())
        word = self.word("chemical")
        text = self.rng.choice(SALTS).format(word) if index % 7 in (1, 2) else word
        letters = "".join(letter for letter in word.upper() if letter not in "AEIOU")[:3]
        return self.name(
            "chemical",
            text,
            self.unique(lambda: letters + self.rng.choice("ATZX")) if index % 7 in (1, 3) else "",
        )

    def gene(self, index: int) -> Name:
        return self.name("gene", self.word("protein") if index % 2 else self.symbol())

    def symbol(self) -> str:
        def make() -> str:
            return (
                "".join(self.rng.choices(_CONSONANTS, k=2))
                + self.rng.choice(_VOWELS + _CONSONANTS)
                + self.rng.choice("1234B")
            )

        return self.unique(make)

    def code(self) -> str:
        return self.unique(
            lambda: "".join(self.rng.choices(_CONSONANTS, k=2)) + f"-{self.rng.randrange(11, 99)}"
        )

    def scale(self) -> Name:
        eponym = self.unique(self.stem).capitalize()
        return self.name(
            "scale",
            f"{eponym}"
            f" {self.rng.choice(('index', 'score', 'test', 'staining', 'procedure', 'classification'))}",
        )

    def organism(self) -> str:
        genus = self.unique(lambda: self.stem() + self.rng.choice(("ia", "ium", "ax"))).capitalize()
        return f"{genus} {self.unique(lambda: self.stem() + self.rng.choice(('ensis', 'alis', 'osa')))}"

    def cues(self, familiar: str) -> tuple[str, ...]:
        words = [word.replace("-", " ") for word in familiar.split()]
        endings = ("ation", "ance", "ing", "ment", "ity", "ure", "ism", "ogenesis", "ency")
        while len(words) < CUES_PER_HALLMARK:
            words.append(self.unique(lambda: self.stem() + self.rng.choice(endings)))
        return tuple(words)
