"""Raw bytes to records with prose."""
