"""Where full texts come from: PMC's bucket of articles and Europe PMC's files; see docs/full-texts.md."""
