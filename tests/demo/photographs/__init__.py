"""Does the demo's first act know its photographs, and measure what it says?"""
