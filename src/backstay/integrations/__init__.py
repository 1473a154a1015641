"""One file per library: thin, and each says which versions it was tested with."""
