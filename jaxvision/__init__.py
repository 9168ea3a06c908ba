"""Networks built from `jaxcore`: layers, models, losses, metrics and recipes.

No system is here yet; the package holds its place in the layering, which is tested.
"""
