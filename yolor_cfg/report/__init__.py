"""Results as tables, charts and images."""
