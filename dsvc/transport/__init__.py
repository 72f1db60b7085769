"""Moving objects and refs between stores: remotes, push, fetch, clone."""
