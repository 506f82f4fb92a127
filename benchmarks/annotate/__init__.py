"""What does labelling cost: of the network's speed, of memory, of time that workers wait?"""
