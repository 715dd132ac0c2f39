from __future__ import annotations

import datetime

import jinja2
import pytest

from biobert_scale.report.templates import duration, large, percent, render_page

DATE = datetime.date(2026, 1, 2)


def test_a_value_that_a_template_lacks_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(jinja2.UndefinedError, match="description"):
        render_page("page.html", date=DATE, title="a", name="b")


def test_values_are_escaped() -> None:
    page = render_page("page.html", date=DATE, title="a", name="<b>", description='"x" & y')
    assert "<h1>&lt;b&gt;</h1>" in page and "&#34;x&#34; &amp; y" in page and "2 January 2026" in page


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (large(999_999), "999,999"),
        (large(1_250_000), "1.25 million"),
        (large(5e10), "50 billion"),
        (percent(1, 3), "33.3%"),
        (percent(1, 0), "–"),
        (duration(59.94), "59.9 s"),
        (duration(60), "1 min 00 s"),
        (duration(5400), "1.5 h"),
    ],
)
def test_numbers_are_written_for_a_person(written: str, expected: str) -> None:
    assert written == expected
