"""Image codebooks: data, network, objective, loop, files."""
