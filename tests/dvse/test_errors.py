"""The error tree: as drawn, each with a builtin, picklable, and only raised from there."""

import builtins
import inspect
import pickle
import re

import pytest

from dvse import errors
from dvse.errors import DvseError, MissingExtraError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, DvseError)
]


@pytest.mark.parametrize("error", CLASSES)
def test_each_inherits_a_builtin_besides_exception(error):
    if error is DvseError:
        return
    known = [c for c in error.__mro__ if c.__module__ == "builtins"]
    assert any(c not in (Exception, BaseException, object) for c in known)


@pytest.mark.parametrize("error", CLASSES)
def test_each_survives_a_worker_process(error):
    one = error("expected this, received that")
    again = pickle.loads(pickle.dumps(one))
    assert type(again) is error
    assert str(again) == str(one) == "expected this, received that"


@pytest.mark.parametrize("error", CLASSES)
def test_each_is_documented(error):
    assert error.__doc__
    assert error.__doc__ != DvseError.__doc__ or error is DvseError


def test_the_tree_at_the_top_is_the_tree():
    """Every class is drawn, under its parent, with the builtin it inherits."""
    stack, drawn = [], {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"[\s│├└─]*(\w+Error)(?: \((\w+)\))?", line)
        if not match or "Error" not in line or line.startswith(("Every", "Each")):
            continue
        depth = match.start(1)
        stack = [(d, n) for d, n in stack if d < depth] + [(depth, match[1])]
        drawn[match[1]] = (stack[-2][1] if len(stack) > 1 else None, match[2])
    assert set(drawn) == {c.__name__ for c in CLASSES}
    for name, (parent, builtin) in drawn.items():
        error = getattr(errors, name)
        assert parent is None or getattr(errors, parent) in error.__bases__, name
        assert builtin is None or getattr(builtins, builtin) in error.__bases__, name


def test_plain_except_clauses_keep_working():
    for name, builtin in [
        ("MissingFileError", FileNotFoundError),
        ("UnreadableFileError", PermissionError),
        ("ItemTypeError", TypeError),
        ("IdRangeError", IndexError),
        ("BundleNotFoundError", FileNotFoundError),
        ("ConfigError", ValueError),
        ("JobError", RuntimeError),
        ("MissingExtraError", ImportError),
    ]:
        with pytest.raises(builtin):
            raise getattr(errors, name)("x")


def test_a_missing_extra_is_one_line_with_the_command():
    message = str(MissingExtraError.for_extra("faiss", "faiss"))
    assert message == "faiss is not installed; install it with: pip install 'dvse[faiss]'"
