"""Look at a data set before anything is trained."""
