"""What the documentation site adds to the pages in `docs/`: reference pages that are made from the code,
pages of other directories, and links that fit both the repository and the site."""
