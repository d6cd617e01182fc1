"""The decoder: recipe, loop, gates, samples of its answers."""
