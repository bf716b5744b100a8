"""Compatibility, documentation, guards and types, which know nothing of fits."""
