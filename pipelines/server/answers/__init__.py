"""From a checked request to its answer: prompt, tokens to text, events."""
