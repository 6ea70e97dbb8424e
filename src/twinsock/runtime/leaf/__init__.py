"""The C modules at the bottom of the standard library, in Python on the twin: what stands here replaces them in `sys.modules`."""
