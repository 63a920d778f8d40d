"""Where documents come from: parquet of The Stack, folders of code, installed and downloaded packages."""
