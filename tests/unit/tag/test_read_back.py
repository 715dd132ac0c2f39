"""What was tagged is read back from every output format: each entity is where its offsets say."""

from __future__ import annotations

import csv
import html
import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from biobert_scale.evaluation.pubtator_blocks import numbered_lines, one_line, read_blocks
from biobert_scale.tag.documents import find_inputs, read_inputs
from biobert_scale.tag.outputs import output_form
from biobert_scale.tag.run import group_documents, tagged
from biobert_scale.tag.sharded import SUFFIXES, tag_files
from biobert_scale.tag.tagger import EntityTagger
from tests.factories import article_text, tarred, write_tagger

Found = dict[str, list[tuple[int, int, str, str]]]
"""Document -> (start, end, type, text) of its entities."""
Texts = dict[str, str]
_MARK = re.compile(r'<mark class="[^"]*" title="([^"]*)">(.*?)(?:<small>[^<]*</small>)?</mark>', re.DOTALL)


def read_back(path: Path, form: str, texts: Texts) -> Found:
    """A file's entities, each compared with the text of its document.

    Args:
        texts: of the documents: filled by `jsonl`, compared by formats that hold texts, used by the others.
    """
    found: Found = {}
    if form == "jsonl":
        for line in path.read_text().splitlines():
            document = json.loads(line)
            texts[document["id"]] = document["text"]
            found[document["id"]] = [
                (e["start"], e["end"], e["type"], e["text"]) for e in document["entities"]
            ]
    elif form == "pubtator":
        with open(path, "rb") as stream:
            for block in read_blocks(numbered_lines(stream, str(path)), str(path)):
                text, whole = " ".join(text for _, text in block.sections), texts[block.id]
                found[block.id] = []
                for _, (first, last, name, kind, *_concept) in block.rows:
                    start, end = int(first), int(last)
                    assert text[start:end] == name == one_line(whole[start:end]), (block.id, start, end)
                    found[block.id].append((start, end, kind, whole[start:end]))
    elif form == "bioc":
        for document in json.loads(path.read_text())["documents"]:
            found[document["id"]] = []
            for passage in document["passages"]:
                start, text = passage["offset"], passage["text"]
                assert texts[document["id"]][start : start + len(text)] == text
                for each in passage["annotations"]:
                    (place,) = each["locations"]
                    first, last = place["offset"], place["offset"] + place["length"]
                    found[document["id"]].append((first, last, each["infons"]["type"], each["text"]))
    elif form == "csv":
        found = {name: [] for name in texts}
        with open(path, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                found[row["id"]].append((int(row["start"]), int(row["end"]), row["type"], row["text"]))
    else:
        for article in path.read_text().split("<article id=")[1:]:
            name = html.unescape(re.findall(r"<small>(.*?)</small>", article)[0])
            found[name] = []
            for title, shown in _MARK.findall(article):
                kind, _, places = title.split(" ")
                start, end = map(int, places.split("-"))
                found[name].append((start, end, kind, html.unescape(shown)))
    for name, entities in found.items():
        for start, end, _, text in entities:
            assert texts[name][start:end] == text, (form, name, start, end)
    return found


@pytest.mark.slow
def test_full_texts_are_read_back_from_every_format(tmp_path: Path) -> None:
    model = write_tagger(tmp_path)
    extra = "Mice with &lt;leaf&gt; palsy &amp; grey fever \u2028 saw 😀 10<sup>6</sup> “goats”, again."
    members = {f"PMC{n}.xml": article_text(n, f"<p>{extra * n}</p>").encode() for n in range(1, 9)}
    (tmp_path / "raw.tar").write_bytes(tarred(members))
    texts: Texts = {}
    read = {}
    for form, suffix in SUFFIXES.items():
        tag_files([model], [tmp_path / "raw.tar"], tmp_path / form, form)  # type: ignore[arg-type]
        read[form] = read_back(tmp_path / form / f"raw.tar.{suffix}", form, texts)
    assert len(texts) == 8 and sum(map(len, read["jsonl"].values())) > 50
    for form, found in read.items():
        assert found == read["jsonl"], form


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_all_real_full_texts_are_read_back_from_every_format(real_data: Path, tmp_path: Path) -> None:
    """Every text is tagged once, and what was found in it is written in all formats."""
    model = write_tagger(tmp_path)
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][0] += 20  # O: few names, as a trained tagger finds
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    tagger = EntityTagger(model, torch.device("cpu"), precision="int8")
    packages, _ = find_inputs([real_data / "pmc" / "*.tar.gz"])
    forms = {form: output_form(form, tagger.types) for form in SUFFIXES}  # type: ignore[arg-type]
    given: Texts = {}
    with ExitStack() as stack:
        files = {
            form: stack.enter_context(open(tmp_path / form, "w", encoding="utf-8", newline="\n"))
            for form in forms
        }
        for form, written in forms.items():
            files[form].write(written.beginning)
        for package in packages:
            documents = read_inputs([package], not_read={}, damaged=None)
            for group, found in tagged(group_documents(documents), [tagger]):
                for document, entities in zip(group, found, strict=True):
                    for form, written in forms.items():
                        text = (written.between if given else "") + written.write(document, entities)
                        files[form].write(text)
                    given[document.id] = document.text
        for form, written in forms.items():
            files[form].write(written.end)
    texts: Texts = {}
    read = {form: read_back(tmp_path / form, form, texts) for form in forms}
    assert texts == given and len(given) > 1000
    for form, entities_of in read.items():
        assert entities_of == read["jsonl"], form
    print(f"{len(given):,} texts, {sum(map(len, read['jsonl'].values())):,} entities in each format")
