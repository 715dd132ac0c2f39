"""Which articles are wanted, by what their metadata say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from biobert_scale.corpus.sources.facts import FLAGS, NO_MD5
from biobert_scale.corpus.sources.selection import Metadata, Selection, read_metadata

RETRACTED, OCR, MANUSCRIPT = FLAGS["retracted"], FLAGS["historical_ocr"], FLAGS["manuscript"]
MD5 = "0123456789abcdef" * 2
URL = f"s3://pmc-oa-opendata/PMC1.2/PMC1.2.xml?md5={MD5}"


@pytest.mark.parametrize(
    ("licenses", "code", "refusal"),
    [
        (None, "CC0", ""),
        (None, "CC BY", ""),
        (None, "CC BY-SA", ""),
        (None, "CC BY-ND", ""),
        (None, "CC BY-NC", "license"),
        (None, "CC BY-NC-SA", "license"),
        (None, "TDM", "license"),
        (None, "", "license"),
        (("CC BY",), "cc-by", ""),
        (("cc_by",), "CC BY", ""),
        (("CC BY",), "CC BY-SA", "license"),
        (("CC BY NC",), "CC BY-NC", ""),
        (("any",), "TDM", ""),
        (("ANY",), "", ""),
    ],
)
def test_the_licence_is_compared_by_letters_and_digits(
    licenses: tuple[str, ...] | None, code: str, refusal: str
) -> None:
    selection = Selection() if licenses is None else Selection(licenses=licenses)
    assert selection.refusal(code, 0) == refusal


@pytest.mark.parametrize(
    ("options", "flags", "refusal"),
    [
        ({}, RETRACTED, "retracted"),
        ({}, OCR, "historical_ocr"),
        ({}, MANUSCRIPT, ""),
        ({"retracted": True}, RETRACTED, ""),
        ({"historical_ocr": True}, OCR, ""),
        ({"manuscripts": False}, MANUSCRIPT, "manuscript"),
        ({"retracted": True}, RETRACTED | OCR, "historical_ocr"),
    ],
)
def test_each_kind_of_article_has_its_option(options: Any, flags: int, refusal: str) -> None:
    assert Selection(**options).refusal("CC BY", flags) == refusal


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Metadata(0, "", 0, "", NO_MD5)),
        ({"pmid": 12, "license_code": " CC BY "}, Metadata(12, "CC BY", 0, "", NO_MD5)),
        ({"pmid": "12", "xml_url": URL}, Metadata(12, "", 0, "PMC1.2/PMC1.2.xml", MD5)),
        ({"pmid": None, "xml_url": None, "license_code": None}, Metadata(0, "", 0, "", NO_MD5)),
        ({"pmid": "n/a", "is_retracted": True, "is_manuscript": True}, Metadata(0, "", 5, "", NO_MD5)),
        ({"is_historical_ocr": True, "is_retracted": "no"}, Metadata(0, "", 2, "", NO_MD5)),
    ],
)
def test_metadata_are_read(fields: dict[str, Any], expected: Metadata) -> None:
    assert read_metadata(json.dumps(fields).encode()) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"<html>",
        b"\xff{}",
        json.dumps({"xml_url": "s3://pmc-oa-opendata/PMC1.2/PMC1.2.xml"}).encode(),
        json.dumps({"xml_url": URL.replace("pmc-oa", "other")}).encode(),
        json.dumps({"xml_url": 7}).encode(),
    ],
)
def test_damaged_metadata_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_metadata(content)
