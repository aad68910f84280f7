"""The reconciler: registry aliases in, applications and a routing table out.

Each tick observes, decides and applies. `decide` is pure; the rest are thin shells around
MLflow, Serve and the fleet store. Rollouts will add steps and verdicts to the decision.
"""
