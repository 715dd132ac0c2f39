"""Which articles of the bucket are wanted, by what their metadata say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from biobert_scale.corpus.sources.facts import (
    BUCKET,
    FLAGS,
    HISTORICAL_OCR,
    LICENSE,
    MANUSCRIPT,
    NO_MD5,
    RETRACTED,
)

ANY = "any"
_XML_URL = re.compile(r"md5=([0-9a-f]{32})")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which articles of the group `pmc-cloud` are fetched."""

    licenses: tuple[str, ...] = ("CC0", "CC BY", "CC BY-SA", "CC BY-ND")
    """Licences of the articles to fetch, as PMC writes them (case, blanks and hyphens aside); `any` takes
    all. The default is what may be used for every purpose, so that a model can be published on any terms.
    Others are CC BY-NC, CC BY-NC-SA, CC BY-NC-ND, and TDM (text mining only)."""
    retracted: bool = False
    """Fetch retracted articles, too. Their findings are withdrawn, and a model would learn them as true."""
    historical_ocr: bool = False
    """Fetch scanned articles, too. Their text is read by machine from old prints: many misread words."""
    manuscripts: bool = True
    """Fetch authors' manuscripts. They are peer-reviewed text like the rest; most are under TDM and so left
    out by their licence."""

    def refusal(self, license_code: str, flags: int) -> str:
        """Why an article is not wanted, a state of `record`; empty where it is."""
        if not is_accepted(license_code, self.licenses):
            return LICENSE
        for kept, reason in (
            (self.retracted, RETRACTED),
            (self.historical_ocr, HISTORICAL_OCR),
            (self.manuscripts, MANUSCRIPT),
        ):
            if flags & FLAGS[reason] and not kept:
                return reason
        return ""


class Metadata(NamedTuple):
    """What the bucket says of one version of an article."""

    pmid: int
    """0 where it names none."""
    license: str
    flags: int
    """See `record.FLAGS`."""
    key: str
    """Of the XML; empty where there is none."""
    md5: str
    """Of the XML, 32 hexadecimal digits."""


def read_metadata(content: bytes) -> Metadata:
    """Read `metadata/PMC<id>.<version>.json`.

    Raises:
        ValueError: it is none, or names an XML without its MD5.
    """
    try:
        fields: dict[str, Any] = json.loads(content)
        url = urlsplit(fields.get("xml_url") or "")
        named = _XML_URL.search(url.query)
        if url.path and (named is None or url.netloc != BUCKET):
            raise ValueError(f"xml_url is {fields['xml_url']}")
        pmid = re.fullmatch(r"[0-9]{1,9}", str(fields.get("pmid") or "0"))
        return Metadata(
            pmid=int(pmid[0]) if pmid else 0,
            license=str(fields.get("license_code") or "").strip(),
            flags=sum(bit for name, bit in FLAGS.items() if fields.get(f"is_{name}") is True),
            key=url.path.lstrip("/"),
            md5=named[1] if named else NO_MD5,
        )
    except (AttributeError, TypeError) as error:
        raise ValueError(str(error)) from None


def is_accepted(license_code: str, licenses: Iterable[str]) -> bool:
    """Whether a licence is one of those that `--licenses` names."""
    accepted = {plain(name) for name in licenses}
    return plain(ANY) in accepted or plain(license_code) in accepted


def plain(name: str) -> str:
    """A name without case, blanks and hyphens."""
    return re.sub(r"[^A-Z0-9]", "", name.upper())
