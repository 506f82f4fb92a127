"""What does a store cost: bytes a map, microseconds a read, memory for its keys?"""
