"""Marks the entities of a few sentences: `python examples/tag_text.py TAGGER`, a directory that
`biobert-scale export` wrote from a fine-tuning run."""

import sys

from biobert_scale import Tagger

TEXTS = [
    "Two patients developed hepatitis after a month of isoniazid.",
    "No grey fever was seen in the treated mice.",
]

tagger = Tagger(*sys.argv[1:])
print("types:", ", ".join(tagger.types))
for text, entities in zip(TEXTS, tagger(TEXTS), strict=True):
    print(text)
    for entity in entities:
        print(f"  {entity.start}-{entity.end} {entity.type} {entity.text!r} ({entity.score:.2f})")
