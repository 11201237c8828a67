"""Pages of `--report`, a file for each command that writes one."""
