"""The second stage of a fit, which regains the efficiency of the mean."""
