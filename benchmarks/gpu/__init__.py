"""All measurements that need a GPU, within nine minutes."""
