"""Raw XML to a held-out loss, stage by stage."""
