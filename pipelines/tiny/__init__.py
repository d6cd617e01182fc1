"""How the shipped decoder `tiny` gets its conversations: scenes, recordings, questions, answers.

Everything is written as conversation JSONL with media files beside it, so that the ordinary
`dvse tokenize` and `dvse train decoder` make the model. Nothing here knows ids or weights.
"""
