"""Fine-tuned models behind a web page and a JSON API: `biobert-scale serve`."""
