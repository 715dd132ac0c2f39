"""Made-up literature in the publishers' real formats, for the demonstration and the tests.

Nothing in it is true: names, findings, authors and journals come from a seed. The language has regularities
that a model can learn (names are used as what they are, papers have topics), so pre-training on it can be
seen to help.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from biobert_scale.corpus.synthetic.benchmarks import write_benchmarks
from biobert_scale.corpus.synthetic.documents import STYLES, Writer
from biobert_scale.corpus.synthetic.grammar import count_words
from biobert_scale.corpus.synthetic.lexicon import build_lexicon
from biobert_scale.corpus.synthetic.pmc import FullText, write_package
from biobert_scale.corpus.synthetic.pubmed import Record, draw_record, pubmed_xml, revise
from biobert_scale.corpus.synthetic.tables import template
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, write_atomically
from biobert_scale.stage import Stage

STAGE = "synthetic"
FIRST_PMID = 90_000_001
FIRST_PMCID = 900_001
MINIMUM_ABSTRACTS = 20


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    seed: int
    abstracts: int
    full_texts: int


def write_synthetic(
    output: Path, *, seed: int = 1, abstracts: int = 3000, full_texts: int = 150, overwrite: bool = False
) -> Manifest:
    """Write a made-up literature: PubMed files, a PMC package, and the four benchmarks' files.

    Equal arguments give equal bytes with the same Python and zlib.

    Args:
        output: a new directory, or one that an interrupted call of the same work left.
        seed: decides every word.
        abstracts: different PubMed records in all, baseline and update together.
        full_texts: how many of the baseline's records have a full text in PMC.
        overwrite: replace what another call wrote.

    Raises:
        UserError: too few abstracts, more full texts than records to carry them, or an output directory in
            other use.
    """
    if abstracts < MINIMUM_ABSTRACTS:
        raise UserError(
            f"{abstracts} abstracts are too few",
            where="abstracts",
            remedy=f"ask for at least {MINIMUM_ABSTRACTS}",
        )
    if not 0 <= full_texts <= abstracts // 2:
        raise UserError(
            f"{full_texts} full texts for {abstracts} abstracts",
            where="full_texts",
            remedy=f"use 0 to {abstracts // 2}",
        )
    config = SyntheticConfig(seed=seed, abstracts=abstracts, full_texts=full_texts)
    with Stage(output, STAGE, inputs=[], config=config, overwrite=overwrite) as stage:
        if stage.finished is not None:
            return stage.finished
        writer = Writer(build_lexicon(seed))
        library = _Library(writer, config)
        files = library.write_pubmed(output / "pubmed")
        files += write_package(output / "pmc", library.full_texts, writer)
        benchmark_files, benchmark_counts = write_benchmarks(output, writer, seed)
        counts = {**library.counts(), **benchmark_counts}
        readme = output / "README.txt"
        write_atomically(readme, template("notice.txt").format(seed=seed, **counts))
        return stage.finish(counts=counts, outputs=[*files, *benchmark_files, readme])


class _Library:
    """All PubMed records and full texts of a seed."""

    def __init__(self, writer: Writer, config: SyntheticConfig) -> None:
        self.writer, self.seed = writer, config.seed
        new_count = config.abstracts // 12
        baseline_count = config.abstracts - new_count
        self.full_texts: list[FullText] = []
        # Full texts are spread evenly over the baseline.
        with_full_text = {place * baseline_count // config.full_texts for place in range(config.full_texts)}
        self.baseline = [self._record(i, full_text=i in with_full_text) for i in range(baseline_count)]
        plain = self._plain_places()
        self.duplicates = max(1, config.abstracts // 500)
        for _ in range(self.duplicates):  # the very title and abstract of another record
            original, copy = self.baseline[next(plain)], next(plain)
            pmid = self.baseline[copy].pmid
            self.baseline[copy] = Record(pmid=pmid, paper=original.paper, structured=original.structured)
        self.revised = [
            self._revision(self.baseline[next(plain)]) for _ in range(max(2, config.abstracts // 60))
        ]
        self.deleted = [self.baseline[next(plain)].pmid for _ in range(max(2, config.abstracts // 200))]
        self.new = [self._record(baseline_count + place, full_text=False) for place in range(new_count)]

    def _record(self, place: int, *, full_text: bool) -> Record:
        pmid = FIRST_PMID + place
        rng = random.Random(f"paper/{pmid}/{self.seed}")
        topic = self.writer.topic(rng, style=rng.choice(STYLES[:-1]) if full_text else None)
        paper = self.writer.paper(topic)
        pmcid = FIRST_PMCID + len(self.full_texts) if full_text else None
        if pmcid is not None:
            self.full_texts.append(FullText(pmcid=pmcid, pmid=pmid, paper=paper, topic=topic))
        return draw_record(pmid, paper, random.Random(f"record kind/{pmid}/{self.seed}"), pmcid=pmcid)

    def _plain_places(self) -> Iterator[int]:
        """Baseline records that a duplicate, a revision or a deletion may be made of, in random order."""
        places = [
            i
            for i, record in enumerate(self.baseline)
            if record.pmcid is None and record.has_abstract and record.language == "eng"
        ]
        random.Random(f"plain places/{self.seed}").shuffle(places)
        return iter(places)

    def _revision(self, record: Record) -> Record:
        rng = random.Random(f"revision/{record.pmid}/{self.seed}")
        return revise(record, self.writer.paper(self.writer.topic(rng, style=record.paper.style)))

    def write_pubmed(self, directory: Path) -> list[Path]:
        update = sorted([*self.revised, *self.new], key=lambda record: record.pmid)
        texts = {
            directory / "baseline" / "pubmed26n0001.xml.gz": pubmed_xml(self.baseline, [], self.seed),
            directory / "updatefiles" / "pubmed26n0002.xml.gz": pubmed_xml(
                update, sorted(self.deleted), self.seed
            ),
        }
        for path, text in texts.items():
            write_atomically(path, gzip.compress(text.encode(), 6, mtime=0))
        return list(texts)

    def counts(self) -> dict[str, int]:
        records = [*self.baseline, *self.new]
        return {
            "baseline": len(self.baseline),
            "new": len(self.new),
            "revised": len(self.revised),
            "deleted": len(self.deleted),
            "duplicates": self.duplicates,
            "without_abstract": sum(not record.has_abstract for record in records),
            "not_english": sum(record.language != "eng" for record in records),
            "full_texts": len(self.full_texts),
            "abstract_words": sum(count_words(r.paper.abstract) for r in records if r.has_abstract),
        }
