"""What the suites measure: networks with their losses, drawn scenes, peers."""
