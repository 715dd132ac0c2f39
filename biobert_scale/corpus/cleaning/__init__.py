"""Markup and text to plain text, and the filters that judge a document by itself."""
