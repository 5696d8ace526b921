"""Augmentation as in YOLOR or in C Darknet; every random function takes its generator."""
