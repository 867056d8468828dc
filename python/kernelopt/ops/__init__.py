"""The op families. Importing one registers its ops with torch."""
