"""The cfg language: lines and sections, typed keys, the dialects."""
