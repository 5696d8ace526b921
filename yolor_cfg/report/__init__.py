"""Figures as tables and as pictures."""
