"""Pages a person looks at: tokens of a job, the evaluation of a bundle."""
