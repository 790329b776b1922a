"""What `maskmed demo` runs: phantoms, held-out cases, nnU-Net's commands and their runner, Dice scores."""
