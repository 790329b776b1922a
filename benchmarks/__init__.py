"""What our networks and steps cost, beside their peers: ``python -m benchmarks SUITE``; scripts that train stand alone."""
