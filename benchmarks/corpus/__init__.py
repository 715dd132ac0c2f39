"""Reading raw XML, and the whole corpus stage."""
