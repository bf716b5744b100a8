"""One fit, wherever the rows are: from data and a plan to epochs."""
