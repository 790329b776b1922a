"""Parts of networks: here those of several networks, in a folder those of one."""
