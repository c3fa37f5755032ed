"""Images and labels to train on: glyphs drawn on the spot, folders, parquet files, or a data set on the hub."""
