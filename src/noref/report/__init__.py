"""Result tables become pages: Markdown, JSON and one HTML file."""
