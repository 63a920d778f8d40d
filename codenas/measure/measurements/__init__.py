"""What a search measures of a stored model: one file for each measurement, found by `registry`."""
