"""BioC in XML and JSON: the same documents as in PubTator, and what is refused with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_pubtator
from biobert_scale.evaluation.readers.bioc import read_bioc

KINDS, OTHERS = frozenset({"Gene", "Plant"}), frozenset({"Fish"})
TITLE, ABSTRACT = "Noxa in ferns.", "Leafy & old ferns lack noxa."
MENTIONS = [(0, 4, "Gene"), (8, 13, "Plant"), (27, 32, "Plant"), (27, 32, "Gene"), (38, 42, "Gene")]
TEXT = f"{TITLE} {ABSTRACT}"


def as_pubtator() -> str:
    rows = [f"7\t{start}\t{end}\t{TEXT[start:end]}\t{kind}\t1\n" for start, end, kind in MENTIONS]
    return f"7|t|{TITLE}\r\n7|a|{ABSTRACT}\r\n" + "".join(rows)


def as_dict(mentions: list[tuple[int, int, str]] = MENTIONS) -> dict[str, Any]:
    annotations = [
        {
            "id": str(number),
            "infons": {"type": kind, "identifier": "1"},
            "text": TEXT[start:end],
            "locations": [{"offset": start, "length": end - start}],
        }
        for number, (start, end, kind) in enumerate(mentions)
    ]
    passages = [
        {"offset": 0, "text": TITLE, "annotations": annotations[:2]},
        {"offset": len(TITLE) + 1, "text": ABSTRACT, "annotations": annotations[2:]},
    ]
    return {"documents": [{"id": "7", "passages": passages, "relations": [{"id": "R1"}]}]}


def as_xml(found: dict[str, Any]) -> str:
    lines = ["<?xml version='1.0' encoding='UTF-8'?>", "<collection>"]
    for document in found["documents"]:
        lines += ["<document>", f"<id>{document['id']}</id>"]
        for passage in document["passages"]:
            text = passage["text"].replace("&", "&amp;")
            lines += ["<passage>", f"<offset>{passage['offset']}</offset>", f"<text>{text}</text>"]
            for each in passage["annotations"]:
                lines += [f"<annotation id='{each['id']}'>"]
                lines += [f"<infon key='{key}'>{value}</infon>" for key, value in each["infons"].items()]
                lines += [
                    f"<location offset='{place['offset']}' length='{place['length']}'/>"
                    for place in each["locations"]
                ]
                lines += [f"<text>{each['text']}</text>", "</annotation>"]
            lines.append("</passage>")
        lines += ["<relation id='R1'/>" for _ in document["relations"]] + ["</document>"]
    return "\n".join([*lines, "</collection>"])


def test_pubtator_xml_and_json_give_the_same_documents(tmp_path: Path) -> None:
    (tmp_path / "a.PubTator").write_text(as_pubtator())
    (tmp_path / "a.xml").write_text(as_xml(as_dict()))
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(as_dict()))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(as_dict()["documents"]).encode()))
    expected, _ = read_pubtator(tmp_path / "a.PubTator", KINDS)
    assert len(expected[0].mentions) == 5
    for name in ("a.xml", "a.json", "a.json.gz"):
        found, counts = read_bioc(tmp_path / name, KINDS, OTHERS)
        assert found == expected and counts["relations"] == 1, name


def test_several_locations_are_one_mention_and_counted(tmp_path: Path) -> None:
    found = as_dict([(15, 20, "Plant")])
    annotation = found["documents"][0]["passages"][0]["annotations"][0]
    annotation |= {
        "text": "Leafy ferns",
        "locations": [{"offset": 27, "length": 5}, {"offset": 15, "length": 5}],
    }
    (tmp_path / "a.xml").write_text(as_xml(found))
    (document,), counts = read_bioc(tmp_path / "a.xml", KINDS)
    assert [document.text[m.start : m.end] for m in document.mentions] == ["Leafy & old ferns"]
    assert counts["discontinuous_mentions"] == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("offset='0'", "offset='1'", r"the text at 1-5 is 'oxa ', not 'Noxa'.*a\.xml:8;"),
        ("offset='0'", "offset='x'", r"<location> without an offset or length.*a\.xml:11;"),
        ("<offset>15</offset>", "<offset>3</offset>", r"the passage at 3 begins inside.*a\.xml:3;"),
        (">Gene<", ">Virus<", r"unknown type 'Virus' \(known: Fish, Gene, Plant\).*a\.xml:8;"),
        ("<id>7</id>", "", r"a document without an ID.*a\.xml:3;"),
        ("</collection>", "", "not XML"),
        ("<location offset='0' length='4'/>", "", r"an annotation without a location.*a\.xml:8;"),
    ],
)
def test_wrong_xml_is_refused_with_the_line(old: str, new: str, says: str, tmp_path: Path) -> None:
    content = as_xml(as_dict())
    assert old in content
    (tmp_path / "a.xml").write_text(content.replace(old, new, 1))
    with pytest.raises(UserError, match=says):
        read_bioc(tmp_path / "a.xml", KINDS, OTHERS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not BioC JSON"),
        ('{"documents": [{"id": "7"}]}', "not BioC JSON .*KeyError"),
        ('{"documents": []}', "no document in the file"),
        (
            json.dumps({"documents": as_dict()["documents"] * 2}),
            "document 7 is there twice: .*a.json, document 7",
        ),
    ],
)
def test_wrong_json_is_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=says):
        read_bioc(tmp_path / "a.json", KINDS, OTHERS)
