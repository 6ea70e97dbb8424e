"""The twin's part of Linux's kernel/bpf/."""
