"""Characters that the tokenizer drops cut no entity; offsets count them."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.normalizers import BertNormalizer
from transformers import pipeline

from biobert_scale.config import FinetuneConfig
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.ner import make_windows
from biobert_scale.evaluation.packed_sequences import load_tokenizer
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention
from biobert_scale.evaluation.tagging import document_spans, tag_document
from biobert_scale.release.finetuned import export_finetuned
from biobert_scale.tag.documents import TextDocument
from biobert_scale.tag.tagger import EntityTagger, find_entities, split_words
from tests.factories import NAMES, write_model, write_prepared

BUDGET = FinetuneConfig(
    learning_rate=1e-3, epochs=12, batch_size=8, max_seq_length=64, dropout=0.0, weight_decay=0.0
)
INVISIBLE = "\xad\u200b\u200c\u200d\u200e\u2060\ufeff\x00\x01\x7f\x80\ufffd\ue000"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    prepared, start = write_prepared(directory / "sets"), write_model(directory / "start")
    finetune(prepared, "NCBI-disease", start, directory / "run", BUDGET, seed=1)
    export_finetuned(directory / "run", directory / "out")
    return directory / "out"


@pytest.fixture(scope="module")
def tagger(model: Path) -> EntityTagger:
    return EntityTagger(model, torch.device("cpu"))


def document(text: str) -> TextDocument:
    return TextDocument(id="1", title=text)


def hidden(name: str, character: str, place: int) -> str:
    return name[:place] + character + name[place:]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_a_name_with_an_invisible_character_stays_whole(character: str, tagger: EntityTagger) -> None:
    for place in range(1, len("leaf palsy")):
        name = hidden("leaf palsy", character, place)
        (found,) = tagger.tag([document(f"Mice with {name} slept.")])
        assert [(entity.start, entity.text) for entity in found] == [(10, name)]


def test_entities_are_the_pipeline_s_on_the_text_that_people_see(model: Path, tagger: EntityTagger) -> None:
    ner: Any = pipeline("ner", model=str(model), aggregation_strategy="first")  # type: ignore[call-overload]
    generator = random.Random(5)
    for _ in range(60):
        seen = f"We saw {generator.choice(NAMES)} and ran home."
        text, places = "", []
        for character in seen:
            places.append(len(text))
            text += character + "".join(generator.choices(INVISIBLE, k=generator.choice([0, 0, 0, 1, 2])))
        (found,) = tagger.tag([document(text)])
        expected = [(places[entity["start"]], places[entity["end"] - 1] + 1) for entity in ner(seen)]
        assert [(entity.start, entity.end) for entity in found] == expected, ascii(text)


def test_the_dropped_characters_are_those_that_the_tokenizer_drops(tagger: EntityTagger) -> None:
    """Of all of Unicode, but for white space and for characters newer than the tokenizer's tables."""
    drops = BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    newer = 0
    for character in map(chr, [*range(0x3000), *range(0xE000, 0xE010), *range(0xFE00, 0x10000), 0xE0001]):
        if character.isspace() or unicodedata.category(character) == "Cn":
            continue
        (sentence,) = split_words(document(f"a{character}b"))
        cut = drops.normalize_str(character) != ""
        is_kept = sentence.tokens != [f"a{character}b"] or unicodedata.category(character)[0] in "LN"
        newer += cut != is_kept
    assert newer <= 13


@pytest.mark.parametrize("character", "\x0b\x0c\x1c\x1f\x85\u2028\u2029\xa0\u3000", ids=ascii)
def test_white_space_of_any_kind_parts_words(character: str) -> None:
    (sentence,) = split_words(document(f"leaf{character}palsy"))
    assert sentence.tokens == ["leaf", "palsy"]


def test_the_model_sees_what_it_sees_without_them(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    text = "We saw Moss-eye, stem tremor (grey fever) and ran. Noxal rot?"
    generator = random.Random(7)
    plain = make_windows(split_words(document(text)), tokenizer, 32)
    for _ in range(50):
        dotted = "".join(generator.choice(["", INVISIBLE[generator.randrange(7)]]) + c for c in text)
        windows = make_windows(split_words(document(dotted)), tokenizer, 32)
        assert [window.input_ids for window in windows] == [window.input_ids for window in plain]


def test_benchmarks_and_tag_cut_words_alike() -> None:
    title, abstract = "Leaf pal\xadsy.", "No\u200bxal rot, too."
    text = f"{title} {abstract}"
    mentions = [
        Mention(start=text.index(name), end=text.index(name) + len(name), kind="Disease", composite=False)
        for name in ("Leaf pal\xadsy", "No\u200bxal rot")
    ]
    annotated = AnnotatedDocument(pmid="1", title=title, abstract=abstract, mentions=tuple(mentions))
    sentences, counts = tag_document(annotated, mentions)
    assert [sentence.tags for sentence in sentences] == [["B", "I", "O"], ["B", "I", "O", "O", "O"]]
    assert counts["mentions_inside_words"] == 0 == counts["mentions_lost_by_tagging"]
    assert {span for s in sentences for span in document_spans(s, s.tags)} == {
        (mention.start, mention.end) for mention in mentions
    }
    tagged = split_words(TextDocument(id="1", title=title, abstract=abstract))
    assert [sentence.tokens for sentence in tagged] == [sentence.tokens for sentence in sentences]


def test_a_word_without_a_piece_cuts_no_entity() -> None:
    """A lone combining mark, which a tokenizer that strips accents drops."""
    (sentence,) = split_words(document("leaf \u0301 palsy slept"))
    tags, scores = ["B-Disease", "", "I-Disease", "O"], [0.8, 0.0, 0.6, 0.9]
    (entity,) = find_entities("leaf \u0301 palsy slept", sentence, tags, scores)
    assert (entity.start, entity.end, round(entity.score, 3)) == (0, 12, 0.7)
