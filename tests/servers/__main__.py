"""Installs the storage servers that the tests use: `python -m tests.servers`."""

import os
import sys

from tests.servers.registry import install

failed = install()
sys.exit(1 if failed and os.environ.get("DSVC_REQUIRE_STORES") == "1" else 0)
