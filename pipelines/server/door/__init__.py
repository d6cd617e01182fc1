"""Who may come in, with what, for how long; what strangers may send."""
