"""How parameters are found: pure `init` and `step` functions per method."""
