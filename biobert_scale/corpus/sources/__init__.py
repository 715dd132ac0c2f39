"""Where full texts come from: NLM's bucket of articles, and Europe PMC's bulk files. See DESIGN.md."""
