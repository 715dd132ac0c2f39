"""Fine-tuning beside transformers' own way."""
