"""What holds samples and is no image store: artifacts of other kinds, each opened by a module of its own."""
