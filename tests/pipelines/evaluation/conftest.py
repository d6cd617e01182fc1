collect_ignore = ["measures/peers"]  # scripts for other environments
