"""A fine-tuned model on text, PubMed XML or PubTator: entities with character offsets."""
