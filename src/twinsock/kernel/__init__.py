"""The twin: Linux's socket layer. A folder per Linux folder, a file per Linux file; no clock, no thread, no os."""
