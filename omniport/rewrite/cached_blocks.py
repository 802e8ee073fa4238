"""What a port declares to cache-dit, and the adapter for lists whose blocks the forward gives something of their own.

cache-dit puts one module in the place of a list and lets it call all blocks with the same arguments.  Where the
forward's loop does more (an index, a skip connection, something injected between blocks), the list has to stay a list.
"""

from __future__ import annotations

from omniport.plan.model import TransformerPlan

ADAPTER = "BlockwiseCachedAdapter"
CLASSES = ("BlockwiseCachedBlocks", "BlockwiseCachedBlock", ADAPTER)

BLOCKWISE = '''
class BlockwiseCachedBlocks(CachedBlocks_Pattern_Base):
    """The cache of a list that stays a list, because the forward gives every block something of its own.

    The first blocks decide.  On a cached step those behind them hand on what the first ones returned, and the last
    one adds what they added to it on the last full step.
    """

    def call_block(self, index, hidden_states, *args, **kwargs):
        manager = self.context_manager
        if index == 0:
            self.context, self.entered, self.cached = manager.set_context(self.cache_context), hidden_states, False
            self._check_cache_params()
        prefix = f"{self.cache_prefix}_Bn_residual"
        with manager.enter_context(self.context):
            first = manager.Fn_compute_blocks() - 1
            last = len(self.transformer_blocks) - manager.Bn_compute_blocks() - 1
            if self.cached and first < index < last:
                return self.returned
            if self.cached and index == last:
                streams = self._process_block_outputs(self.returned, None)
                return self._process_forward_outputs(*manager.apply_cache(*streams, prefix, prefix))
            returned = self.transformer_blocks[index](hidden_states, *args, **kwargs)
            hidden_states, encoder_hidden_states = self._process_block_outputs(returned, None)
            if index == first:
                self.returned, self.residual = returned, hidden_states - self.entered
                name = f"{self.cache_prefix}_Fn_residual"
                manager.mark_step_begin()
                self.cached = manager.can_cache(self.residual, parallelized=self._is_parallelized(), prefix=name)
                if self.cached:
                    manager.add_cached_step()
            if index == last and not self.cached:
                start, encoder_start = self._process_block_outputs(self.returned, None)
                manager.set_Fn_buffer(self.residual, f"{self.cache_prefix}_Fn_residual")
                manager.set_Bn_buffer(hidden_states - start, prefix)
                if encoder_hidden_states is not None:
                    manager.set_Bn_encoder_buffer(encoder_hidden_states - encoder_start, prefix)
            return returned


class BlockwiseCachedBlock(nn.Module):
    """One block of such a list."""

    def __init__(self, blocks: BlockwiseCachedBlocks, index: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.index = index

    def forward(self, hidden_states, *args, **kwargs):
        return self.blocks.call_block(self.index, hidden_states, *args, **kwargs)


class BlockwiseCachedAdapter(CachedAdapter):
    """Gives cache-dit a list of cached blocks in the place of one module for all of them."""

    @classmethod
    def collect_unified_blocks(cls, block_adapter, contexts_kwargs):
        collected = []
        for unified in super().collect_unified_blocks(block_adapter, contexts_kwargs):
            for name, (stack,) in unified.items():
                blocks = BlockwiseCachedBlocks(
                    stack.transformer_blocks,
                    transformer=stack.transformer,
                    forward_pattern=stack.forward_pattern,
                    check_forward_pattern=False,
                    cache_prefix=stack.cache_prefix,
                    cache_context=stack.cache_context,
                    context_manager=stack.context_manager,
                )
                indices = range(len(stack.transformer_blocks))
                unified[name] = nn.ModuleList([BlockwiseCachedBlock(blocks, index) for index in indices])
            collected.append(unified)
        return collected
'''

#: For a forward that reads a part of a block while the list is replaced.
PART = """
    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.blocks.transformer_blocks[self.index], name)
"""


def cache_declaration(plan: TransformerPlan, separate_cfg: bool) -> list[str]:
    """The class attribute that cache-dit reads; none if no list of blocks fits it.

    Without one vLLM-Omni would fall back to cache-dit's own register, which matches class names by their beginning.
    """
    cached = {block.attribute: block for block in plan.blocks if block.cache}
    if not cached:
        return []
    patterns = ", ".join(f'"{name}": ForwardPattern.Pattern_{block.pattern}' for name, block in cached.items())
    options = ", has_separate_cfg=True" if separate_cfg else ""
    if blockwise(plan):
        options += f", cached_adapter_cls={ADAPTER}"
    if not all(block.named for block in cached.values()):
        options += ", check_forward_pattern=False"
    return [f"_cache_dit_adapter_config = CacheDiTAdapterConfig(block_forward_patterns={{{patterns}}}{options})"]


def blockwise(plan: TransformerPlan) -> bool:
    """Whether the port brings an adapter of its own."""
    return any(block.cache == "blocks" for block in plan.blocks)


def cached_blocks(plan: TransformerPlan) -> str:
    """The adapter's classes, "" where cache-dit's own will do."""
    if not blockwise(plan):
        return ""
    reached = any(block.reached for block in plan.blocks)
    classes = BLOCKWISE.strip()
    if reached:
        before, rest = classes.split("    def forward(self, hidden_states, *args, **kwargs):")
        classes = f"{before}{PART.strip(chr(10))}\n    def forward(self, hidden_states, *args, **kwargs):{rest}"
    return f"{classes}\n\n\n"
