"""Records, written out in the formats that can be read in.

In: records that end with an answer. Out: one file, put in place by rename, so that it is whole or not there.
A format that would lose turns refuses the record; nothing is cut to fit.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import batched, chain
from pathlib import Path
from typing import Any, Literal

from yearling.errors import UserError
from yearling.record import Record, Role
from yearling.sources.shapes import storable
