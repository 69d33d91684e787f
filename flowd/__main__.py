"""Run the command line by `python -m flowd`."""

from flowd.cli import main

main()
