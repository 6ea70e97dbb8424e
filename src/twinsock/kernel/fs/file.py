"""Open files and descriptor tables (Linux: fs/file.c, fs/file_table.c)."""


class File:
    """`struct file`: an open file description."""

    def __init__(self, flags: int) -> None:
        self.f_flags = flags
        self.f_count = 1


class FilesStruct:
    """`struct files_struct`: a process's descriptors."""
