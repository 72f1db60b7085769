"""Installs the storage servers that the tests use: `python -m tests.servers`."""

import sys

from tests.servers.registry import install

sys.exit(1 if install() else 0)
