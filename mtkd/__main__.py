"""`python -m mtkd`: the command line, for jobs that know only an interpreter."""

from mtkd.cli import main

main()
