"""From ids to words: prompts, legal tokens, model directories, answers, captions."""
