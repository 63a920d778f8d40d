"""`python -m codenas` is `codenas`."""

from codenas.cli import main

main()
