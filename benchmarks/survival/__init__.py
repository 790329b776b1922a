"""Jobs that are stopped at random and disks that fill: what is lost, what is left over."""
