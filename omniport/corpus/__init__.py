"""The corpus run: every transformer class of diffusers ported into one tree and verified in one process."""
