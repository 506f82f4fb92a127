"""What is each token of a training picture taught?"""
