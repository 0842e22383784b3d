"""Write a comparison as a page and as figures."""
