"""Networks side by side: what each costs, and what it reaches on which data."""
