"""What the literature knows: recipes in the words of papers."""
