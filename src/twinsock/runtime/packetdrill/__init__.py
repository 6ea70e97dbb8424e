"""packetdrill: scripts of system calls and packets, run against the twin in virtual time or against the live kernel.

The language is the one of the tool of that name; the interpreter is our own. `parser` turns a text into `script` objects, `run` plays
them on a `Machine`: `twin.TwinMachine` here, or one that reaches the live kernel through a TUN device."""
