"""The same program on the live kernel and on the twin, and where the two differ first."""
