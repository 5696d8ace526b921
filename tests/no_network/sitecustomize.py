"""Python imports this when it starts, in every process that a test starts: it has this folder in PYTHONPATH."""

import outward

outward.install()
