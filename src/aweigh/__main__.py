"""`python -m aweigh`: the command line, for whoever knows the interpreter and not where its scripts lie."""

from aweigh.cli.main import main

main()
