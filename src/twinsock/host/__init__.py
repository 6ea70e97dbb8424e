"""The live kernel: netlink, /proc, namespaces, owners. Imports neither kernel nor runtime."""
