"""How are the pictures of a batch mixed, and their targets with them?"""
