"""Which pages does a program write?"""
