"""Compatibility, documentation, guards and types, independent of fits."""
