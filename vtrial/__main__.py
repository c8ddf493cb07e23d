"""`python -m vtrial`, the command line."""

from vtrial.cli import app

app(prog_name="vtrial")
