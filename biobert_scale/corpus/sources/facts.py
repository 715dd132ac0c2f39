"""What the bucket of articles is, and what can become of an article: constants that import nothing."""

GROUP = "pmc-cloud"
BUCKET = "pmc-oa-opendata"
BASE_URL = "https://pmc-oa-opendata.s3.amazonaws.com"
CONNECTIONS = 256
"""Requests at once: an object takes a round trip, and there are sixteen million of them."""

TAKEN, SAME, NO_XML, MISSING, WITHDRAWN = "taken", "same", "no_xml", "missing", "withdrawn"
"""What became of an article: its text was packed; its metadata changed in nothing that matters; it has no
XML; the bucket has not what the inventory names; the inventory does not name it any more."""
LICENSE, RETRACTED, HISTORICAL_OCR, MANUSCRIPT = "license", "retracted", "historical_ocr", "manuscript"
"""Why an article was not selected."""
STATES = (TAKEN, SAME, NO_XML, MISSING, WITHDRAWN, LICENSE, RETRACTED, HISTORICAL_OCR, MANUSCRIPT)
"""In records, by name; in memory, by place."""
FLAGS = {RETRACTED: 1, HISTORICAL_OCR: 2, MANUSCRIPT: 4}
NO_MD5 = "0" * 32
