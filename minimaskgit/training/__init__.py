"""Everything that trains: the loop, its parts, and one file per stage."""
