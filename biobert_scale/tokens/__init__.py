"""Documents in; a vocabulary and memory-mapped token shards out."""
