"""The serving side: a fleet of model versions behind one gateway on Ray Serve."""
