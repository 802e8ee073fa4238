"""The report of a verified port, as one HTML page and as Markdown: ``omniport verify --report``."""
