"""Where the words of an image come from, one way a file: `data.captions`."""
