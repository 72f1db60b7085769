"""dsvc: version control for datasets."""

__all__ = ["__version__"]

# The only place: pyproject.toml reads it from here, and nothing asks the installed metadata at start-up.
# Not a Final: typing would take longer than the rest of `dsvc --version`.
__version__ = "0.1.0"
