"""What networks and steps cost beside their peers: ``python -m benchmarks SUITE``. Scripts that train are separate."""
