"""What is done with named datasets and versions, here or on a remote, with or without a worktree."""
