"""Real storage servers for the tests, each in an environment of its own below `.servers/`.

`python -m tests.servers` installs what is not there yet; a test starts a server when it first needs it.
"""
