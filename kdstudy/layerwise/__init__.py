"""Crucial layers, how far student and teacher differ there, and the learning-rate policies over them."""
