"""Bytes by key: the Backend protocol and its kinds."""
