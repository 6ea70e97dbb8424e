"""Runs programs on the twin: clock, scheduler, processes."""
