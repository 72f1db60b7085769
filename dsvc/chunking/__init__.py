"""Where to cut a file into chunks. Nothing here reads, hashes or stores."""
