"""Searchers beside random search on bayesmark's scikit-learn problems."""
