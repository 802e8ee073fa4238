"""The tables of the shared example scripts, by task: which models they run, with the reference's defaults.

What was not measured, such as memory, is a dash.
"""

from __future__ import annotations

from omniport.emit.edits.base import Context, Edit
from omniport.emit.edits.tables import Table, add_row, drop_rows, plain, tables

_FOLDERS = {
    "text-to-image": "text_to_image",
    "text-to-video": "text_to_video",
    "image-to-video": "image_to_video",
    "image-to-image": "image_to_image",
    "text-to-audio": "text_to_audio",
}
_DASH = "-"


def _wanted(table: Table) -> bool:
    return table.columns[:1] == ("model",) and any(plain(h) == "supportedmodels" for h in table.headings)


def edits(context: Context) -> list[Edit]:
    folder = _FOLDERS.get(context.task)
    if folder is None or not context.model_id:
        return []  # the tables are keyed by the id of a checkpoint
    found = []
    for place in ("offline_inference", "online_serving"):
        for path in sorted((context.root / "examples" / place / folder).glob("*.md")):
            text = path.read_text("utf-8", errors="replace")
            if any(map(_wanted, tables(text))):
                found.append(_edit(context, path.relative_to(context.root).as_posix()))
    return found


def _edit(context: Context, path: str) -> Edit:
    key = f"`{context.model_id}`"

    def the_table(text: str) -> Table | None:
        return next(filter(_wanted, tables(text)), None)

    def add(text: str) -> str:
        table = the_table(text)
        if table is None or any(key in cell for _, row in table.rows for cell in row):
            return text
        return add_row(text, table, _cells(context, table, key), _DASH)

    def drop(text: str) -> str:
        table = the_table(text)
        return text if table is None else drop_rows(text, table, lambda row: key in row[:2])

    return Edit(path, add, drop)


def _cells(context: Context, table: Table, key: str) -> dict[int, str]:
    named = "modelid" in table.columns
    height, width = context.default("height"), context.default("width")
    size = (height, width) if height.isdigit() and width.isdigit() else None
    values = {
        "model": context.display if named else key,
        "modelid": key,
        "imageshape": f"{size[0]} x {size[1]}" if size else "",
        "defaultresolution": f"{size[0]}x{size[1]}" if size else "",
        "defaultframes": context.default("num_frames", "frames"),
        "defaultsteps": context.default("num_inference_steps"),
        "guidance": context.default("guidance_scale", "true_cfg_scale"),
    }
    return {i: values[c] for i, c in enumerate(table.columns) if values.get(c)}
