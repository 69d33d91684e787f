"""`python -m flowd`."""

from flowd.cli import main

main()
