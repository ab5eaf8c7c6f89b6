"""`python -m keyfleet`."""

from keyfleet.cli.main import main

main()
