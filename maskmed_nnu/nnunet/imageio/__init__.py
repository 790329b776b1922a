"""The reader/writer of instance label maps."""
