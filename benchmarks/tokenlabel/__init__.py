"""What do targets cost in training, and how exact are they?"""
