"""Bytes to records and back, pure and reversible. Knows uapi and struct, nothing else."""
