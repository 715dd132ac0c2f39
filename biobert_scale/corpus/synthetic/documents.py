"""Invented papers: a topic (a few recurring things of one field), and title, abstract and body about it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from biobert_scale.corpus.synthetic.grammar import (
    ITALIC,
    ITALIC_END,
    Grammar,
    count_words,
    mark_mention,
    skewed,
)
from biobert_scale.corpus.synthetic.lexicon import Field, Lexicon, Name
from biobert_scale.corpus.synthetic.numbers import NUMBERS
from biobert_scale.corpus.synthetic.tables import frames, table

SLOTS = dict(
    C="chemical", G="gene", P="procedure", V="device", K="process", O="organism", L="line", U="scale"
)
ANY_SLOTS, ANY_WEIGHTS = ("D", "C", "G", "K", "P"), (30, 26, 20, 14, 10)
PER_TOPIC = dict(chemical=2, gene=2, procedure=1, process=1, device=1, organism=1, line=2, scale=1)
STYLES, STYLE_WEIGHTS = ("clinical", "experimental", "genetic", "cancer", "other"), (25, 16, 15, 38, 6)
ABSTRACT_WORDS = (105, 180)
"""An abstract continues until it has a number of words drawn from this range."""
SECTION_LABELS = dict(
    background="BACKGROUND", aims="OBJECTIVE", methods="METHODS", results="RESULTS", conclusions="CONCLUSIONS"
)


class Section(NamedTuple):
    """A section of an abstract."""

    name: str
    """Of `SECTION_LABELS`."""
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


class Cause(NamedTuple):
    """Identifiers of a chemical and of the disease that it induces in the invented world."""

    chemical: str
    disease: str


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Title and abstract; every string is marked (see `grammar`)."""

    style: str
    title: str
    sections: tuple[Section, ...]
    """The abstract, in order."""
    names: tuple[Name, ...]
    """The topic's diseases, chemicals and genes, the main ones first."""
    causes: tuple[Cause, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(sentence for section in self.sections for sentence in section.sentences)

    @property
    def abstract(self) -> str:
        return " ".join(self.sentences)


class Writer:
    """Writes papers from a lexicon. Each paper depends only on the generator that it is given."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.grammar = Grammar(table("phrases"), NUMBERS)

    def topic(
        self,
        rng: random.Random,
        *,
        style: str | None = None,
        seen_only: bool = False,
        benchmark: bool = False,
    ) -> Topic:
        """What a paper will be about: a style (drawn where not given), names, and hallmarks."""
        style = style or rng.choices(STYLES, STYLE_WEIGHTS)[0]
        return Topic(self.lexicon, rng, style=style, seen_only=seen_only, benchmark=benchmark)

    def paper(self, topic: Topic) -> Paper:
        """A title and an abstract of about 90 to 200 words."""
        rng = topic.rng
        frame = rng.choice(frames("titles", topic.style))
        title = self.grammar.sentence(frame, topic.begin_sentence(title=True), rng)
        numbers = dict(background=(2, 3), aims=(0, 1), methods=(2, 4), results=(3, 6))
        counts = {section: rng.randint(*bounds) for section, bounds in numbers.items()}
        drawn = {section: self.sentences(topic, section, count) for section, count in counts.items() if count}
        drawn["conclusions"] = self.sentences(topic, "conclusions", rng.randint(1, 2))
        words = sum(count_words(sentence) for sentences in drawn.values() for sentence in sentences)
        wanted = rng.randint(*ABSTRACT_WORDS)
        while words < wanted:
            more = self.sentences(topic, "results", 1)
            drawn["results"] += more
            words += count_words(more[0])
        return Paper(
            style=topic.style,
            title=title + ".",
            sections=tuple(Section(name, tuple(sentences)) for name, sentences in drawn.items()),
            names=topic.main_names(),
            causes=topic.causes(),
        )

    def sentences(self, topic: Topic, section: str, count: int) -> list[str]:
        """Sentences of a section, no frame twice while enough are left."""
        available = frames(section, topic.style)
        chosen, left = [], list[str]()
        for _ in range(count):
            left = left or list(available)
            chosen.append(left.pop(skewed(topic.rng, len(left))))
        return [self.sentence(topic, frame) for frame in chosen]

    def sentence(self, topic: Topic, frame: str) -> str:
        return self.grammar.sentence(frame, topic.begin_sentence(), topic.rng)


class Topic:
    """What a paper is about: fills the slots of its sentences."""

    def __init__(
        self, lexicon: Lexicon, rng: random.Random, *, style: str, seen_only: bool, benchmark: bool
    ) -> None:
        self.lexicon, self.rng, self.style, self.seen_only = lexicon, rng, style, seen_only
        self.field = rng.choice(lexicon.fields)
        diseases = self._allowed(self.field, "disease")
        main = diseases[skewed(rng, len(diseases))]
        # Things of one field that stand at neighbouring places of its lists belong together: context predicts
        # names.
        self.place = self.field.names["disease"].index(main)
        self.names: dict[str, list[Name]] = {
            "disease": [main, *self._others("disease", main, rng.randint(1, 2))]
        }
        for kind, count in PER_TOPIC.items():
            self.names[kind] = self._near(kind, count)
        self.hallmarks = rng.sample(range(len(lexicon.hallmarks)), rng.choice((1, 1, 2, 2, 3)))
        # The benchmark says less: a hallmark in words that the training set lacks must be known from the
        # corpus.
        self.cues = [self._some_cues(hallmark, 2 if benchmark else 4) for hallmark in self.hallmarks]
        self.epithet_rate = 0.1 if benchmark else 0.9
        self.introduced: set[str] = set()
        self.used: set[str] = set()
        self.in_title = False
        self.hallmark = 0

    def _allowed(self, field: Field, kind: str) -> list[Name]:
        names = [name for name in field.names[kind] if name.seen or not self.seen_only]
        return names or list(field.names[kind])

    def _some_cues(self, hallmark: int, count: int) -> list[str]:
        """A paper's own words for a hallmark. Training sets know the first of the synonyms only."""
        cues = self.lexicon.hallmarks[hallmark].cues
        return self.rng.sample(cues[: len(cues) * 2 // 5] if self.seen_only else cues, count)

    def _others(self, kind: str, main: Name, count: int) -> list[Name]:
        field = self.field if self.rng.random() < 0.85 else self.rng.choice(self.lexicon.fields)
        names = [name for name in self._allowed(field, kind) if name is not main]
        return self.rng.sample(names, min(count, len(names)))

    def _near(self, kind: str, count: int) -> list[Name]:
        names = self.field.names[kind]
        near = [names[(self.place + step) % len(names)] for step in range(count)]
        kept = [name for name in near if name.seen or not self.seen_only]
        others = self._others(kind, kept[0] if kept else near[0], count)
        missing = [name for name in others if name not in kept]
        keep_near = max(1, count - (self.rng.random() < 0.5))
        return (kept[:keep_near] + missing)[:count]

    def main_names(self) -> tuple[Name, ...]:
        return (*self.names["disease"], *self.names["chemical"], *self.names["gene"])

    def causes(self) -> tuple[Cause, ...]:
        pairs = zip(self.field.names["chemical"], self.field.names["disease"], strict=True)
        return tuple(Cause(chemical.identifier, disease.identifier) for chemical, disease in pairs)

    def begin_sentence(self, *, title: bool = False) -> Topic:
        self.used.clear()
        self.in_title = title
        self.hallmark = self.rng.randrange(len(self.hallmarks))
        return self

    def __call__(self, slot: str) -> str:
        """The marked words for a slot."""
        if slot == "X":
            slot = self.rng.choices(ANY_SLOTS, ANY_WEIGHTS)[0]
        match slot:
            case "D":
                return self._mention("disease", role="SpecificDisease")
            case "Dm":
                return self._mention("disease", role="Modifier")
            case "Dc":
                words = f"{self.field.adjective} {self.rng.choice(('disease', 'disorders', 'diseases'))}"
                return mark_mention(words, "disease", self.field.disease_class, "DiseaseClass")
            case "Dx":
                both = self.field.composite
                identifiers = f"{both.first.identifier}|{both.second.identifier}"
                return mark_mention(both.words, "disease", identifiers, "CompositeMention")
            case "H":
                return self._cue()
            case "T":
                return self.rng.choice(self.field.parts)
            case "M":
                return self.rng.choice(self.field.measurements)
            case "F":
                return self.field.adjective
            case "N":
                return self.field.organ
            case _:
                return self._mention(SLOTS[slot], role="")

    def _mention(self, kind: str, *, role: str) -> str:
        names = [name for name in self.names[kind] if name.identifier not in self.used] or self.names[kind]
        name = names[0] if self.rng.random() < 0.6 else self.rng.choice(names)
        self.used.add(name.identifier)
        introduced = name.identifier in self.introduced
        if introduced and self.rng.random() < 0.7:
            return self._marked(name, name.abbreviation, role)
        words = self._marked(name, name.text, role)
        if not name.abbreviation or self.in_title or introduced or role == "Modifier":
            return words
        self.introduced.add(name.identifier)
        return f"{words} ({self._marked(name, name.abbreviation, role)})"

    def _marked(self, name: Name, words: str, role: str) -> str:
        if name.kind == "organism" or (name.kind == "gene" and words.isupper() and self.style == "genetic"):
            words = f"{ITALIC}{words}{ITALIC_END}"
        return mark_mention(words, name.kind, name.identifier, role)

    def _cue(self) -> str:
        """A cue of the sentence's hallmark; now and then one of another hallmark of the paper."""
        place = self.hallmark if self.rng.random() < 0.92 else self.rng.randrange(len(self.hallmarks))
        cues = [cue for cue in self.cues[place] if cue not in self.used] or self.cues[place]
        cue = self.rng.choice(cues)
        self.used.add(cue)
        hallmark = self.hallmarks[place]
        marked = mark_mention(cue, "hallmark", str(hallmark))
        with_epithet = self.rng.random() < self.epithet_rate
        return f"{self.lexicon.hallmarks[hallmark].epithet} {marked}" if with_epithet else marked
