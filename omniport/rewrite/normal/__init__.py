"""Rewrites that take a reference class to the normal form (:mod:`omniport.source.normal`)."""
