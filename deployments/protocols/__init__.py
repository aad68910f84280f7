"""Bytes to tensors and back; pure, and ignorant of who carries the bytes."""
