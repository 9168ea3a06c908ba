"""One script per claim; `results/` holds what each measured. Not installed."""
