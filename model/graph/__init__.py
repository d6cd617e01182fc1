"""The decoder as one graph of plain operators, for runtimes other than torch; and running it."""
