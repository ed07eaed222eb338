"""The command line: one command per file; the one place where an error becomes a message."""
