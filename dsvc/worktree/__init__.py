"""The files that people work on: what is there, what changed, and how it comes and goes."""
