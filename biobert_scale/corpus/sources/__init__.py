"""Where full texts come from: PMC's bucket of articles and Europe PMC's files; see
docs/how-to/full-texts.md."""
