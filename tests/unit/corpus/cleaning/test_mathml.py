from __future__ import annotations

import pytest

from biobert_scale.corpus.readers.jats import read_jats


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("<msqrt><mi>t</mi></msqrt>", "√t"),
        ("<msqrt><mi>t</mi><mo>+</mo><mn>1</mn></msqrt>", "√(t+1)"),
        ("<mi>g</mi><mfenced><mi>x</mi><mi>y</mi></mfenced>", "g(x,y)"),
        ("<mfenced open='[' close=']' separators=';'><mi>x</mi><mi>y</mi></mfenced>", "[x;y]"),
        ("<mfenced open='{'><mi>x</mi></mfenced>", "{x}"),
        ("<mfenced open='|' close='|'><mi>x</mi></mfenced>", "|x|"),
        ("<mi>x</mi><mtext> for </mtext><mi>y</mi>", "x for y"),
        ("<mn>7</mn><mtext>\u00a0kg</mtext>", "7 kg"),
        ("<mn>7</mn><mspace/><mi>kg</mi>", "7 kg"),
        ("<mfrac><mi>a</mi><mi>b</mi></mfrac>", "a/b"),
        ("<mfrac><mrow><mi>a</mi><mo>-</mo><mi>b</mi></mrow><mn>2.5</mn></mfrac>", "(a-b)/2.5"),
        ("<mn>3</mn><mo>×</mo><msup><mn>10</mn><mn>7</mn></msup>", "3×10^7"),
        ("<msup><mn>10</mn><mrow><mo>−</mo><mn>7</mn></mrow></msup>", "10^-7"),
        ("<msup><mn>2</mn><mi>n</mi></msup>", "2^n"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>", "x1^2"),
        ("<msup><mfenced><mi>x</mi></mfenced><mn>2</mn></msup>", "(x)^2"),
        ("<msup><mi>R</mi><mn>2</mn></msup>", "R2"),
        ("<mi>cos</mi><mo>\u2061</mo><mi>x</mi>", "cos x"),
        ("<mphantom><mi>P</mi></mphantom><mi>S</mi>", "S"),
        ("<mroot><mi>z</mi><mn>3</mn></mroot>", "z^(1/3)"),
        ("<munder><mi>lim</mi><mrow><mi>n</mi><mo>→</mo><mo>∞</mo></mrow></munder><mi>a</mi>", "lim n→∞ a"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x¯"),
        ("<mmultiscripts><mi>C</mi><mprescripts/><none/><mn>14</mn></mmultiscripts>", "14C"),
        ("<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr></mtable>", "1 2"),
        ("<semantics><mi>k</mi><annotation>K</annotation></semantics>", "k"),
    ],
)
def test_formulas_keep_their_structure(formula: str, text: str) -> None:
    content = f"<article><body><p>So <math>{formula}</math> is.</p></body></article>"
    assert read_jats(content.encode()).body == (f"So {text} is.",)
