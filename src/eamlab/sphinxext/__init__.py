"""Sphinx extensions of the book; nothing else of the library imports them."""
