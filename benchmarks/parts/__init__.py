"""What the commands beside this folder are made of, where one module would be too much."""
