"""What does a label map say of a part of its picture?"""
