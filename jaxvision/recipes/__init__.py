"""How each system is trained: one module per system."""
