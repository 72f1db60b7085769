"""The command line: options in, one call, words out.

This is the only layer that reads the terminal, the environment and the clock, that prints,
and that chooses an exit code. The frame is `main` (which command), `options` and `parser`
(what was asked), `session` (where and by whom), `console` and `progress_bar` (what is said)
and `errors` (what is said when it fails). Every other module is the command of its name.
"""
