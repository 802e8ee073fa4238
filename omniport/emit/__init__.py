"""From a plan and its code to files: headers, templates, formatting.  Nothing is written here."""

from omniport.emit.names import check_name, default_name
from omniport.emit.port import manifest_file, package_name, port_entry, port_files

__all__ = ["check_name", "default_name", "manifest_file", "package_name", "port_entry", "port_files"]
