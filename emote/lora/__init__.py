"""The adapter: attach it, read and write its files, convert, fuse and resize it."""
