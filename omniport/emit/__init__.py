"""From a plan and its code to files: headers, templates, formatting.  Nothing is written here."""

from omniport.emit.names import check_name, default_name
from omniport.emit.port import package_name, port_entry, port_files, record_files

__all__ = ["check_name", "default_name", "record_files", "package_name", "port_entry", "port_files"]
