"""Compare finished runs, method against method: statistics, tables, and runs that W&B holds."""
