"""From source code to token shards: sources, filters, dedup, split, vocabulary, tokens; on Ray Data."""
