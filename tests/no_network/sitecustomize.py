"""Python imports this when it starts, in every process that a test starts: its folder is in PYTHONPATH."""

import outward

outward.install()
