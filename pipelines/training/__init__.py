"""Trainings of parts, bundles and decoders; those of one kind do not know another."""
