"""From documents to token ids and shards, and statistics of tokens."""
