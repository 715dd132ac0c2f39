"""Loss curves with every setting of `compute` on and off."""
