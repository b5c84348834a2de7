"""Every error a user can meet, and its exit code.

UserError                what the user can mend                 exit 2
├── BudgetError          the cap would be passed                exit 3
├── ProofError           a proof failed, nothing was released   exit 4
└── TeacherError         the teacher's endpoint failed          exit 5
Interrupted              Ctrl-C or SIGTERM; the run resumes     exit 130

Anything else that escapes is a bug and keeps its traceback under `--debug`.
A message says what is wrong, where, and what to do next.
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: a recipe, a file, a disk, a port."""

    exit_code = 2


class BudgetError(UserError):
    """The next call could pass the budget; nothing was sent."""

    exit_code = 3


class ProofError(UserError):
    """A proof failed: the artefact is kept for inspection and the stage is not done."""

    exit_code = 4


class TeacherError(UserError):
    """The teacher could not answer; settled answers are kept and the run can be resumed."""

    exit_code = 5


class Interrupted(Exception):
    """The user stopped the run; the same command resumes it."""

    exit_code = 130
