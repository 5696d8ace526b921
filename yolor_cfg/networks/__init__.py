"""The networks shipped with the package: their table, building blocks and files."""
