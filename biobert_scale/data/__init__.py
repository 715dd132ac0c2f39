"""Token shards in; the samples and batches of any step out, as a pure function."""
