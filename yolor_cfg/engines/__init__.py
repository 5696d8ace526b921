"""Engines: what runs a network whose cfg and weights are read. Each has its own module or folder."""
