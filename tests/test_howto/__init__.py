"""The how-to pages, followed as a reader would follow them."""
