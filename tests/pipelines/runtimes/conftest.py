collect_ignore = ["readers"]  # scripts for other environments
