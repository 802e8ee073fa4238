"""The root's forward under sequence parallelism: modules where the tokens are split and put together."""

from __future__ import annotations

import libcst as cst

from omniport.analyse.sequence.plan import GATHER, SPLIT, apart, optional_module
from omniport.analyse.sequence.records import MANY
from omniport.plan.model import SpRegion, SpTensor, TransformerPlan
from omniport.rewrite.syntax import method, single, statements

SPLIT_CLASS = '''
class SequenceSplit(nn.Module):
    """Returns what it is given: the hooks of ``_sp_plan`` shard it over the sequence-parallel ranks."""

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tensors
'''

RANK_ORDER = '''
def rank_order(mask: torch.Tensor, lengths: list[int], dim: int = -1) -> torch.Tensor:
    """An axis over all tokens in the order in which the ranks hold them: each has a slice of every stream."""
    if mask.shape[dim] == 1 or not is_forward_context_available() or not get_forward_context().sp_active:
        return mask
    ranks = get_sequence_parallel_world_size()
    shards = []
    for stream in mask.transpose(dim, -1).split(lengths, dim=-1):
        padding = stream.new_ones(*stream.shape[:-1], -stream.shape[-1] % ranks)
        shards.append(torch.cat([stream, padding], dim=-1).chunk(ranks, dim=-1))
    return torch.cat([part for rank in zip(*shards) for part in rank], dim=-1).transpose(dim, -1)
'''

GATHER_KEYS = '''
def gather_keys(mask: torch.Tensor | None) -> torch.Tensor | None:
    """A mask over a rank's keys, put together with those of the other ranks."""
    if mask is None or not is_forward_context_available() or not get_forward_context().sp_active:
        return mask
    return sp_gather(mask, dim=-1)
'''

_KEPT = """
    ranks = get_sequence_parallel_world_size()
    own = [(torch.arange(n + -n % ranks, device=key.device) < n).chunk(ranks) for n in lengths]
    kept = torch.cat([part for rank in zip(*own) for part in rank])
"""

SEQUENCE_METADATA = f'''
def sequence_metadata(key: torch.Tensor, *streams: str) -> AttentionMetadata | None:
    """The keys that do not pad a stream to a multiple of the sequence-parallel ranks; None if none does."""
    lengths = [get_sp_shard_original_seq_len(stream) or 0 for stream in streams]
    if not any(n % get_sequence_parallel_world_size() for n in lengths):
        return None
    {_KEPT.strip()}
    return AttentionMetadata(attn_mask=kept.expand(key.shape[0], -1))
'''

MASKED_METADATA = f'''
def sequence_metadata(key: torch.Tensor, *streams: str, mask: torch.Tensor | None = None) -> AttentionMetadata | None:
    """``mask`` without the keys that pad a stream to a multiple of the sequence-parallel ranks."""
    lengths = [get_sp_shard_original_seq_len(stream) or 0 for stream in streams]
    if not any(n % get_sequence_parallel_world_size() for n in lengths):
        return None if mask is None else AttentionMetadata(attn_mask=mask)
    {_KEPT.strip()}
    if mask is None:
        return AttentionMetadata(attn_mask=kept.expand(key.shape[0], -1))
    value = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    return AttentionMetadata(attn_mask=mask.masked_fill(~kept, value))
'''


#: A worker says when it loads that hooks share out the tokens; the context of a request does not know.
AHEAD = """
# attention in front of the split sees all tokens: only within the plan's hooks do ranks exchange any
if is_forward_context_available():
    get_forward_context().sp_plan_hooks_applied = True
"""


def split_forward(node: cst.ClassDef, plan: TransformerPlan) -> cst.ClassDef:
    """The root with the statements of its region between a split and a gather."""
    region, forward, init = plan.region, method(node, "forward"), method(node, "__init__")
    if region is None or forward is None or init is None:
        return node
    own = any(entry.module == GATHER for entry in plan.sp)
    body = list(forward.body.body)
    gathered = statements(_gather(region)) if own else []
    ahead = statements(AHEAD) if region.ahead else []
    changed = [*body[: region.start], *statements(_split(region)), *body[region.start : region.end], *gathered]
    place = int(bool(body) and isinstance(single(body[0]), cst.Expr))  # behind the docstring
    changed = [*changed[:place], *ahead, *changed[place:], *body[region.end :]]
    forward_made = forward.with_changes(body=forward.body.with_changes(body=changed))
    init_made = init.with_changes(
        body=init.body.with_changes(body=[*init.body.body, *statements("".join(_modules(region, own)))])
    )
    items = [forward_made if item is forward else init_made if item is init else item for item in node.body.body]
    return node.with_changes(body=node.body.with_changes(body=items))


def helpers(plan: TransformerPlan, classes: str) -> str:
    """The class and the functions that ``classes`` need for the region."""
    if plan.region is None:
        return ""
    many = sum(len(t.streams) for t in plan.region.split if not apart(t)) > 1 or _parts(plan.region.gather) > 1
    padded = any(attention.streams or attention.key_streams for attention in plan.attentions)
    masks = RANK_ORDER if plan.region.masks else ""
    masks += GATHER_KEYS if any(attention.own_mask for attention in plan.attentions) else ""
    metadata = MASKED_METADATA if ", mask=" in classes else SEQUENCE_METADATA
    return (SPLIT_CLASS if many else "") + masks + (metadata if padded else "")


def _modules(region: SpRegion, gather: bool) -> list[str]:
    count = sum(len(tensor.streams) for tensor in region.split if not apart(tensor))
    lines = ["# where the tokens are shared out over the ranks\n"]
    lines.append(f"self.{SPLIT} = {'SequenceSplit()' if count > 1 else 'nn.Identity()'}\n")
    lines += dict.fromkeys(f"self.{optional_module(t)} = nn.Identity()\n" for t in region.split if apart(t))
    if gather:
        lines.append(f"self.{GATHER} = {'SequenceSplit()' if _parts(region.gather) > 1 else 'nn.Identity()'}\n")
    return lines


def _parts(tensors: tuple[SpTensor, ...]) -> int:
    return sum(len(tensor.streams) for tensor in tensors)


def _value(tensor: SpTensor) -> str:
    return tensor.variable if tensor.item is None else f"{tensor.variable}[{_item(tensor)}]"


def _item(tensor: SpTensor) -> str:
    return f'"{tensor.item}"' if isinstance(tensor.item, str) else str(tensor.item)


def _lengths(region: SpRegion) -> dict[tuple[str, ...], str]:
    """A local for the lengths of each run of streams that is cut or reordered."""
    makeups = dict.fromkeys(
        t.streams for t in (*region.split, *region.masks) if len(t.streams) > 1 or t in region.masks
    )
    return {makeup: "lengths" if len(makeups) == 1 else f"lengths_{n}" for n, makeup in enumerate(makeups, 1)}


def _length(region: SpRegion, stream: str) -> str:
    for cut in region.cuts:
        if stream in cut.streams:
            counted = cut.streams[cut.from_end]
            return cut.number if stream == counted else f"{cut.variable}.shape[{cut.dim}] - {cut.number}"
    label = {"_".join([t.variable, *([] if t.item is None else [str(t.item)])]): t for t in region.split}
    tensor = label[stream]
    return f"{_value(tensor)}.shape[{tensor.dim}]"


def _split(region: SpRegion) -> str:
    lengths = _lengths(region)
    text = "".join(
        f"{name} = [{', '.join(_length(region, stream) for stream in makeup)}]\n" for makeup, name in lengths.items()
    )
    given = [tensor for tensor in region.split if not apart(tensor)]
    tables = [tensor for tensor in given if tensor.item is not None or len(tensor.streams) > 1]
    plain = [tensor for tensor in given if tensor not in tables]
    arguments, at, rebuilt = [], 0, dict[str, dict[str, str]]()
    places: list[tuple[SpTensor, int]] = []  # where the parts of each table begin
    for tensor in (*plain, *tables):
        samples = f".unflatten(0, ({tensor.samples}, -1))" if tensor.samples else ""
        if len(tensor.streams) == 1:
            arguments.append(f"{_value(tensor)}{samples}")
        else:
            arguments.append(f"*{_value(tensor)}{samples}.split({lengths[tensor.streams]}, dim={tensor.dim})")
        if tensor in tables:
            places.append((tensor, at))
            end = at + len(tensor.streams)
            joined = f"tables[{at}]" if end == at + 1 else f"torch.cat(tables[{at}:{end}], dim={tensor.dim})"
            rebuilt.setdefault(tensor.variable, {})[_item(tensor)] = joined
            at = end
    targets = (
        ", ".join([*(tensor.variable for tensor in plain), *(["*tables"] if tables else [])]) if plain else "tables"
    )
    text += f"{targets} = self.{SPLIT}({', '.join(arguments)})\n"
    text += "".join(f"{t.variable} = {t.variable}.flatten(0, 1)\n" for t in plain if t.samples)
    for variable, parts in rebuilt.items():
        whole = any(tensor.variable == variable and tensor.item is None for tensor in tables)
        keyed = any(tensor.variable == variable and isinstance(tensor.item, str) for tensor in tables)
        if whole:
            text += f"{variable} = {parts['None']}\n"
        elif keyed:
            text += f"{variable} |= {{{', '.join(f'{key}: {part}' for key, part in parts.items())}}}\n"
        else:
            text += f"{variable} = ({', '.join(parts.values())})\n"
    shares = {  # of each stream of a value that is cut, what the rank holds
        stream: f"tables[{place}].shape[{tensor.dim}]"
        for cut in region.cuts
        for tensor, start in places
        if tensor.variable == cut.variable and tensor.item is None
        for place, stream in enumerate(tensor.streams, start)
    }
    for cut in region.cuts:
        text += f"{cut.number} = {shares[cut.streams[cut.from_end]]}\n"
    for tensor in region.gather:
        if len(tensor.streams) > 1:
            text += f"{_shares(tensor)} = [{', '.join(shares[stream] for stream in tensor.streams)}]\n"
    for name, streams in region.counts:
        text += f"{name} = {' + '.join(_length(region, stream) for stream in streams)}\n"
    for variable in dict.fromkeys(tensor.variable for tensor in region.split if apart(tensor)):
        text += _optional([t for t in region.split if t.variable == variable], lengths)
    for mask in region.masks:
        call = f"{mask.variable} = rank_order({mask.variable}, {lengths[mask.streams]}, dim={mask.dim})\n"
        text += f"if {mask.variable} is not None:\n    {call}" if mask.optional else call
    for name in region.required:
        text += (
            f"if {name} is None and get_forward_context().sp_active:\n"
            f'    raise ValueError("{name} has to be given with sequence parallelism")\n'
        )
    for name in region.absent:
        text += (
            f"if {name} is not None and get_forward_context().sp_active:\n"
            f'    raise ValueError("{name} cannot be given with sequence parallelism")\n'
        )
    return text


def _optional(tensors: list[SpTensor], lengths: dict[tuple[str, ...], str]) -> str:
    """Shard what may be absent, if it is there."""
    first = tensors[0]
    name, module = first.variable, f"self.{optional_module(first)}"
    one = "table" if first.item is not None else name
    made = f"{module}({one})"
    if len(first.streams) > 1:
        parts = f"{one}.split({lengths[first.streams]}, dim={first.dim})"
        made = f"torch.cat([{module}(part) for part in {parts}], dim={first.dim})"
    value = made if first.item is None else f"tuple({made} for table in {name})"
    if first.item == MANY:
        value = f"[{made} for table in {name}]"
    if first.inner is not None:
        assert isinstance(first.item, int)
        front, behind = f"*{name}[:{first.item}], ", f", *{name}[{first.item + 1} :]"
        value = f"({front}tuple({made} for table in {name}[{first.item}]){behind})"
    conditions = [f"{name} is not None"] if first.optional else []
    conditions += [f"{name}.shape[{first.dim}] > 1"] if first.broadcast else []
    conditions += [f"{name}.ndim == {first.rank}"] if first.rank is not None else []
    return f"if {' and '.join(conditions)}:\n    {name} = {value}\n" if conditions else f"{name} = {value}\n"


def _shares(tensor: SpTensor) -> str:
    """A local for what the rank holds of each stream of a value that is put together stream by stream."""
    return f"{tensor.variable}_lengths"


def _gather(region: SpRegion) -> str:
    if all(len(tensor.streams) == 1 for tensor in region.gather):
        names = ", ".join(tensor.variable for tensor in region.gather)
        return f"{names} = self.{GATHER}({names})\n"
    arguments, at, lines = [], 0, ""
    for tensor in region.gather:
        end = at + len(tensor.streams)
        if len(tensor.streams) == 1:
            arguments.append(tensor.variable)
            lines += f"{tensor.variable} = parts[{at}]\n"
        else:
            arguments.append(f"*{tensor.variable}.split({_shares(tensor)}, dim={tensor.dim})")
            lines += f"{tensor.variable} = torch.cat(parts[{at}:{end}], dim={tensor.dim})\n"
        at = end
    if len(region.gather) == 1:
        (tensor,) = region.gather
        return f"{tensor.variable} = torch.cat(self.{GATHER}({arguments[0]}), dim={tensor.dim})\n"
    return f"parts = self.{GATHER}({', '.join(arguments)})\n{lines}"
