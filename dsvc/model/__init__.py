"""Immutable values and their canonical encoding. No I/O."""
