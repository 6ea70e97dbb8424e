"""The twin's part of Linux's lib/."""
