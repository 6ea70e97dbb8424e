"""Argument parsing and drawing only."""
