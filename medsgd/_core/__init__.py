"""Compiled code: samples are visited here, epochs in Python."""
