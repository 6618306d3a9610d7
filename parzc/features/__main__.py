"""The door of `python -m parzc.features`; the command line is `parzc/commands/features.py`."""

import runpy

runpy.run_module("parzc.commands.features", run_name="__main__")
