"""KernelPort, records and tables: what both kernels are asked, and what they answer."""
