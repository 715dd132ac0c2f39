"""Raw MEDLINE and JATS XML in; clean documents out."""
