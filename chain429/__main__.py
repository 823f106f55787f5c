"""``python -m chain429`` is the command line."""

from chain429.cli import main

main(prog_name="chain429")
