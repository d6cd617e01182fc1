"""What any training needs: checkpoints, a log, several processes."""
