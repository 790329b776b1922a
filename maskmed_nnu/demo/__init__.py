"""What `maskmed demo` runs: phantoms, held-out cases, a pipeline of commands, Dice scores."""
