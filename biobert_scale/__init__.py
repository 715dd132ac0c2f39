"""biobert_scale: from PubMed and PMC XML to a pre-trained, released and scored BioBERT."""

__version__ = "0.1.0"
