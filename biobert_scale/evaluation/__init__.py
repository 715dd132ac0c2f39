"""Fine-tuning and scoring on entity recognition and document classification."""
