"""`python -m codenas` is `codenas`."""

from codenas.cli.app import main

main()
