"""Objects by id: frames, packs, index segments and the database over them."""
