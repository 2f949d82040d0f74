"""The maintainers' commands, one file each: run them by make."""
