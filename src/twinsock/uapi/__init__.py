"""Numbers and names that programs see, one file per header. Constants and name tables only."""
