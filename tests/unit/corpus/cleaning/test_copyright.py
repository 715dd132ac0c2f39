"""A publisher's statement at an abstract's end is no science, and science is no publisher's statement."""

from __future__ import annotations

import io

import pytest

from biobert_scale.corpus.readers.medline import read_medline

SCIENCE = "The hens of the third group laid more."


def abstract_of(*paragraphs: str) -> tuple[str, ...]:
    texts = "".join(
        f"<AbstractText>{text.replace('&', '&amp;').replace('<', '&lt;')}</AbstractText>"
        for text in paragraphs
    )
    article = f"<Article><Abstract>{texts}</Abstract></Article>"
    content = f"<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>7</PMID>{article}</MedlineCitation></PubmedArticle></PubmedArticleSet>"  # noqa: E501
    return next(read_medline(io.BytesIO(content.encode()))).abstract


@pytest.mark.parametrize(
    "statement",
    [
        # signs, years and holders
        "© The Author(s) 2021.",
        "© 2019",
        "©2018 ABCD.",
        "© 2011, The Society of Hens, Inc.",
        "© Hen-Verlag 2012",
        "℗ 2014 Hen Records Ltd.",
        "Copyright © 2013 by the Hen Union of Great Britain and Ireland. Published by Coop & Sons, Ltd.",
        "Copyright © The Author(s), 2022. Published by A Coop.",
        "Copyright: © 2015 Feather et al.",
        "Copyright©2016, Coop B.V. All rights reserved.",
        "(C) 1997 Hen-Liss, Inc.",
        "(c)2001 by Le Coq.",
        "Copyright (c) 2002 S. Karger AG, Basel",
        "Copyright 2006 A Coop, Inc.",
        "Copyright Coop Publishers 2004.",
        "(Copyright 2004 Coop Ltd.)",
        "2005 Hen-Liss, Inc.",
        "© 2020 eHen Sciences Ltd",
        "© 2013 Feather et al, publisher and licensee Coop Medical Press Ltd",
        # the Crown
        "Crown Copyright © 2008. Published by A Coop Ltd. All rights reserved.",
        "Crown copyright 2010.",
        "© Crown copyright 2011.",
        "© 2014 Her Majesty the Queen in Right of Canada. Reproduced with the permission of the Minister.",
        # databases
        "(PsycInfo Database Record (c) 2021 APA, all rights reserved).",
        "(PsycINFO Database Record (c) 2010 APA, all rights reserved) (journal abstract).",
        "PsycINFO Database Record (c) 2005 APA.",
        "Copyright of Journal of Hens is the property of A Coop and its content may not be copied"
        " or emailed to"
        " multiple sites. However, users may print articles. (Copyright applies to all Abstracts.)",
        # set sentences
        "All rights reserved.",
        "This article is protected by copyright. All rights reserved.",
        "Thieme. All rights reserved.",
        "Coop and Hen. All rights reserved.",
        "Published by Elsevier Inc.",
        "Published 2013. This article is a U.S. Government work and is in the public domain in the USA.",
        "This article not subject to U.S. Copyright. Published 2012 by the American Society of Hens.",
        "© Author(s) (or their employer(s)) 2020. No commercial re-use. See rights and permissions.",
        "© The Author 2015. Published by Coop University Press. For Permissions, please email:"
        " a.b@coop.example.",
        # licences
        "© 2020 A Coop. This is an open access article under the terms of the Creative Commons"
        " Attribution License"
        " which permits use, distribution and reproduction in any medium, provided the original work is"
        " cited.",
        "This is an open access article under the CC BY 4.0 license (http://example.org/by/4.0/).",
        "© 2019 by the authors. Licensee MDPI, Basel, Switzerland.",
        "Open Access This article is licensed under a Creative Commons Attribution 4.0 International"
        " License.",
        # other languages
        "© 2015 Hen España, S.L.U. Todos los derechos reservados.",
        "Copyright © 2014 SEH. Publicado por Elsevier España, S.L.U. Todos los derechos reservados.",
        "© 2011 Elsevier Masson SAS. Tous droits réservés.",
        "© Der/die Autor(en) 2021",
        "© 2012 Hen Verlag. Alle Rechte vorbehalten.",
        "© 2009 Sociedade de Galinhas. Todos os direitos reservados.",
        "© 2016 母鸡出版社。版权所有。",
        # the article's own place
        "Eur J Hens; 15(5); 610-8. ©2017 EAHR.",
        "Hens Cytol 2018;126:122-8. © 2017 American Hen Society.",
        "© 2015 Coop Periodicals, Inc. Hen Wing 38: E665-E672, 2016.",
    ],
)
def test_a_statement_of_rights_goes_whole(statement: str) -> None:
    assert abstract_of(f"{SCIENCE} {statement}") == (SCIENCE,)
    assert abstract_of(SCIENCE, statement) == (SCIENCE,)


@pytest.mark.parametrize(
    "text",
    [
        # what counts up to (c)
        "Hens were given (a) 500, (b) 1000 or (c) 2000 mg of grain by mouth; the last group laid more.",
        "We looked at eggs in (a) 1998, (b) 1999 and (c) 2000 in the coop. The yolks rose by a third.",
        "The years were: (a) 1998. (b) 1999. (c) 2000.",
        "We asked for (A) Grain. (B) Straw. (C) 2010 Eggs.",
        "Poly(C) 2010 bound to it.",
        "Nests were counted by region (c) 2005 to 2009 in hens (n = 12).",
        # sentences that hold the words
        "Copyright 2010 was the coop's year.",
        "Copyright laws of 1976 and 1998 protect the hens.",
        "All rights reserved for hens were listed.",
        "We asked whether all rights are reserved to the hens of the coop.",
        "Published by Feather in 1998, the scale of hens was validated again.",
        "The scale was published by Elsevier in 2001.",
        "Published 2010 guidelines on hens were followed.",
        "2004 Hen Society guidelines, Inc., were used in all of the coops.",
        "The authors recommend that hens in 2010 and 2011 be fed.",
        "The crown of the tooth was intact in 2009.",
        "This is an open-access database of hens.",
        "Eggs were sorted with the EggSort© 2010 software for hens.",
        "Eggs were sorted with EggSort (© 2010 Coop Inc., Henville, NY).",
        "Wiley hens were compared with tame hens.",
        "Copyright 2010 Coop Ltd. The hens of the third group laid more eggs than those of the first.",
        "The temperature was 50(c)C and the flow 9.76(c)mg/L in 2010.",
    ],
)
def test_science_is_never_taken_for_a_statement(text: str) -> None:
    assert abstract_of(text) == (text,)


def test_only_the_statement_goes_from_a_long_abstract() -> None:
    long = " ".join(f"In year {year} (c) {year} hens laid more." for year in range(1950, 2010))
    assert abstract_of(f"{long} Copyright © 2012 A Coop Ltd.") == (long,)


def test_a_statement_escaped_twice_goes_too() -> None:
    assert abstract_of(f"{SCIENCE} &copy; 2012 A Coop Ltd.") == (SCIENCE,)


def test_the_note_on_truncation_goes_in_any_letters() -> None:
    assert abstract_of(f"{SCIENCE} Abstract truncated at 250 words.") == (SCIENCE,)
    assert abstract_of(SCIENCE, "(ABSTRACT TRUNCATED)") == (SCIENCE,)
