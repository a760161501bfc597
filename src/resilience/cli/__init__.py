"""`python -m resilience saga ...`: what an operator does about sagas, while the application runs or is stopped.

It reads and writes the journal, like any other process: a request is a letter, which whoever runs the saga hears at
once. Where nobody does, and `--app` says which classes there are, the saga is taken up here and settled.

The exit code is 0 if all is well, 1 if something is wrong or was refused, 2 if the command itself is.
"""

from ._main import main

__all__ = ["main"]
