"""Looking after a store: checking that it is whole, and mending what can be mended."""
