"""`rayfleet doctor`: what is wrong with an installation or a fleet, and what to do about it."""
