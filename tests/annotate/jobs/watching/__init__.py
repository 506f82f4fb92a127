"""Does the page of a job say what its store says?"""
