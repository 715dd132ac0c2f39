"""Sentences with two masked entities, from the official files of ChemProt and DDI as BLURB masks them."""
