collect_ignore = ["peers"]  # scripts for other environments
