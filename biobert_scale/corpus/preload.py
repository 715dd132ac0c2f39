"""Imported where a build's workers are forked from: loading compiled functions takes long."""

from biobert_scale.corpus.selection.deduplicate import SHINGLE_WORDS, SIGNATURE_SIZE
from biobert_scale.corpus.selection.shingles import minhash, ngram_hashes, word_hashes

minhash(ngram_hashes(word_hashes("a text of as many words as a run has"), SHINGLE_WORDS), SIGNATURE_SIZE)
