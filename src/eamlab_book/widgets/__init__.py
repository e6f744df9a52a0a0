"""The book's widgets: sliders that work in a rendered page and ask the library in a notebook."""
