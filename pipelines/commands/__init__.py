"""The subcommands of `dvse`, a module each: arguments in, exit code out, no work of their own."""
