"""No output over an input: paths are compared by what they mean, however they are spelled."""
