"""Takes the publisher's statement of rights off the end of an abstract, and none of the science before it.

A statement is recognised as a whole: it begins where a sentence begins, with words that begin such
statements, and all that follows to the end of the text is names, numbers, a few connecting words, and the
set sentences of publishers and licences. One other word in lower case, such as a verb, and nothing is taken
off.
"""

from __future__ import annotations

import re

_LONGEST = 800
"""Characters at the end of a text that are searched for a statement."""

# Without one of these (in lower case) there is no statement. It is a question of time alone.
_CLUES = (
    *"© ℗ (c) copyright publi reserv riservati vorbehalten voorbehouden 版权 licens author(s)".split(),
    *"inc. ltd gmbh wiley elsevier springer karger thieme".split(),
    "database record",
)
_YEAR = r"(?:19|20)\d\d"
_SIGN = r"(?:©|℗|\(c\))"
_HOUSES = r"(?:Elsevier|(?:John )?Wiley|Springer|(?:S\. )?Karger|(?:Georg )?Thieme|Blackwell|Lippincott)"
_RESERVED = (
    r"(?:all rights (?:are )?reserved|todos los derechos reservados|todos os direitos reservados"
    r"|tous droits réservés|tutti i diritti(?: sono)? riservati|alle rechte vorbehalten"
    r"|alle rechten voorbehouden|版权所有)"
)
_LICENSED = (
    r"(?:(?:this|it) is an open[- ]access (?:article|paper|work)|open[- ]access this article"
    r"|this (?:article|work|publication) is (?:distributed|licensed|published|open|made available))"
)
_PROTECTED = (
    r"(?:this article is protected by copyright|(?:this article (?:is )?)?not subject to U\.?S\.? copyright"
    r"|this (?:article|work) is (?:a|written by) U\.?S\.? government)"
)
_NAMES = r"(?-i:(?:(?:[A-Z][\w&’'-]*|&|of|and|the|for|by)[.,]? ){1,8})"
_SENTENCE_BEGINS = r"(?:^|(?<=[.!?:;)\]\"'”’»*。])|(?<=[.!?:;)\]\"'”’»*] ))"

_START = re.compile(
    # These need no end of a sentence before them, which some abstracts lack.
    rf"(?<!\w)[(\[]?(?:(?:crown )?copyright ?:? ?{_SIGN}|psyc[a-z]+ database record|{_PROTECTED})"
    rf"|{_SENTENCE_BEGINS}[(\[]?(?:(?:crown )?copyrights?\b|(?P<sign>{_SIGN})|(?P<licence>{_LICENSED})"
    rf"|(?P<reserved>{_RESERVED}|{_NAMES}(?={_RESERVED}))"
    rf"|(?P<house>{_YEAR},? |published(?: online)?(?:(?: in)? {_YEAR})?,? by\b|publicad[oa] por\b"
    rf"|publiée? par\b|veröffentlicht von\b|licensee\b|{_HOUSES}\b)"
    rf"|published {_YEAR}\.|the author(?:\(s\)|s)(?!\w))",
    re.IGNORECASE,
)
_HOUSE = re.compile(
    rf"\b(?:{_HOUSES}|Inc|Ltd|Limited|LLC|GmbH|B\.?V|SAS|Verlag|Press|Publish(?:ers|ing)|Periodicals|APA|AACR|MDPI"
    rf"|BMJ|Society|Association|Academy|University|College|Federation|Foundation)\b|(?i:{_RESERVED})"
)
_LICENCE = re.compile(r"licen[cs]e|CC[ -]BY|Creative Commons", re.IGNORECASE)
_SIGNS = re.compile(_SIGN, re.IGNORECASE)

# A statement's set sentences, known by how they begin ...
_PHRASES = re.compile(
    rf"\b(?:{_PROTECTED}|{_LICENSED}|(?:distributed|licensed|published) under|no claim to original"
    r"|no commercial re-?use|see rights and|for permissions?,? please|reproduced with|users may"
    r"|(?:and )?its content may not|is the property of|copyright applies to|journal abstract"
    r"|this article has been contributed|(?:online )?supplement(?:al|ary) material)\b.*?(?:\.(?=[\s)]|$)|$)",
    re.IGNORECASE,
)
# ... and its words in lower case, in the languages of the large publishers.
_WORDS = frozenset(
    """
    al all an and are at author authors autor autores behalf by co company copyright das database de del
    der derechos des di die direitos diritti do dos droits du e ed editor editors el en et exclusive for
    für government i im in inc its la las le les licence licensee licensees license licensor licensors
    limited los ltd of on online or os par para part permissions por publicada publicado published publisher
    publishers publishing publié publiée rechte record reserved reservados riservati rights réservés
    sono the their to und under van veröffentlicht von vorbehalten voorbehouden with works y
""".split()
)
# The set sentences end in these, too.
_LAST_WORDS = _WORDS.union(
    "abstract acknowledged adaptations article cited commercial copied credited indicated made medium"
    " permission purposes source use".split()
)
_MARKS = "()[]{}.,;:·•/&*-–—'’\"“”«»©®℗™"

# `Eur J Res 2015; 36(2): 122-8.` in front of a statement: the article's own place.
_PLACE = re.compile(
    r"(?:^|(?<=[a-z0-9)\]%][.!?] ))\(?(?:(?:[A-Z][\w-]*\.?|of|and|the|&)[,;:]? ){1,8}"
    r"(?:\(?(?:19|20)\d\d\)?[;,:.]? ?)?\d{1,4} ?(?:\(\w{1,9}\) ?)?[;:,] ?(?:\d+: ?)?[A-Z]?\d+[-–]\w+"
    r"(?:[,;] (?:19|20)\d\d)?\)?\.? ?$"
)
_LONGEST_PLACE = 120


def without_copyright(text: str) -> str:
    """A text without the statement of rights at its end.

    Args:
        text: one paragraph with collapsed white space.

    Returns:
        The text up to the statement; unchanged where it ends in none, empty where it is nothing else.
    """
    last = text[text.rfind(" ") + 1 :]
    if last.islower() and last.strip(_MARKS) not in _LAST_WORDS and "/" not in last and "@" not in last:
        return text  # nearly always
    end = text[-_LONGEST:]
    if not any(map(end.lower().__contains__, _CLUES)):
        return text
    for start in _START.finditer(end):
        # At a cut through the text a word may continue.
        if (start.start() or len(end) == len(text)) and _is_statement(start, end):
            text = text[: len(text) - len(end) + start.start()].rstrip()
            place = _PLACE.search(text[-_LONGEST_PLACE:])
            return text[: len(text) - len(place.group())].rstrip() if place else text
    return text


def _is_statement(start: re.Match[str], end: str) -> bool:
    """Whether all from the match to the end is a statement of rights."""
    statement = end[start.start() :]
    names = _SIGNS.sub(" ", _PHRASES.sub(" ", statement))
    if not all(map(_may_be_named, names.split())):
        return False
    dated, house = re.search(_YEAR, statement), _HOUSE.search(statement)
    if start["licence"]:
        return _LICENCE.search(statement) is not None
    if start["house"]:
        return house is not None
    if start["sign"] and start["sign"] not in "©℗":  # `(a) 1998. (b) 1999. (c) 2000.` is no statement
        counted = "(b)" in end[: start.start()].lower()
        named = names.strip(_MARKS + " 0123456789")
        return bool((house and dated) if counted else (house or (dated and named)))
    return bool(start["sign"] or start["reserved"] or dated or house or names != statement)


def _may_be_named(token: str) -> bool:
    word = token.strip(_MARKS)
    return (
        not word.islower()  # also names such as `eLife`
        or word[0].isdigit()
        or word in _WORDS
        or "(s" in word
        or "@" in word
        or "www." in word
        or word.startswith(("http", "doi"))
    )
