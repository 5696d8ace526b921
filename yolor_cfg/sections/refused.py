"""Sections of forks that are known and cannot be read, with the reason."""

REFUSED_SECTIONS = {
    "DyHead": "its module is absent from the source (DijiesitelaQ/TSDetection)",
}
"""By the name in the header."""
