from __future__ import annotations

import inspect

import pytest

from noref import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = [
        line for line in (errors.__doc__ or "").splitlines() if line.lstrip().startswith(("NorefError", "|--", "`--"))
    ]
    names = [line.strip(" |`-").split()[0] for line in drawn]
    assert sorted(names) == sorted(cls.__name__ for cls in CLASSES)
    for line in drawn[1:]:
        name, builtin = line.strip(" |`-").split()[0], line.rpartition("also ")[2].rstrip(")").split()[-1]
        assert [base.__name__ for base in getattr(errors, name).__bases__] == ["NorefError", builtin]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls not in (errors.NorefError, errors.MissingExtraError)])
def test_one_except_catches_all(cls):
    with pytest.raises(errors.NorefError, match=r"^why$"):
        raise cls("why")


def test_a_missing_extra_names_the_command():
    error = errors.MissingExtraError("train", "`noref train`")
    assert isinstance(error, ImportError)
    assert error.extra == "train"
    assert str(error) == "`noref train` needs an extra: pip install 'noref[train]'"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("defualt", "did you mean default?"), ("zzz", "known are default, other"), ("", "known are default, other")],
)
def test_unknown_names_offer_the_nearest(name, hint):
    error = errors.unknown("model", name, ["other", "default"])
    assert isinstance(error, errors.OptionError)
    assert str(error) == f"unknown model {name!r}: {hint}"


def test_hundreds_of_names_are_counted_and_not_listed():
    error = errors.unknown("backbone", "zzz", [f"net{number}" for number in range(300)])
    assert str(error) == "unknown backbone 'zzz': none of the 300 known ones is like it"
