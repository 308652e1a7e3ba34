"""The zoo: one paper, one file. Importing this package registers them all."""

from __future__ import annotations

import importlib
import pkgutil

# Every file registers itself: adding a paper touches no list.
for _found in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    if not _found.startswith("_"):
        importlib.import_module(f"{__name__}.{_found}")
