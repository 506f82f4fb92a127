"""How do pictures and labels go through the same transforms?"""
