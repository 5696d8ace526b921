"""The family of networks that comes with the package: its table, its building blocks, its files."""
