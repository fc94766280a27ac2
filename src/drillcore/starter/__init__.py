"""What a new project begins with. `files/` holds it; what this repository has itself is linked there, not copied."""

from drillcore.starter.new_project import Started, start_project

__all__ = ["Started", "start_project"]
