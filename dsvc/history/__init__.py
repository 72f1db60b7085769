"""The history: trees, commits, what revisions mean, and how versions hang together and differ."""
