"""Images and labels to train on: drawn glyphs, image folders, parquet files, or a data set on the hub."""
