import qmtl.errors
from qmtl.errors import QmtlError, unknown_name


def every():
    return [c for c in vars(qmtl.errors).values() if isinstance(c, type) and issubclass(c, QmtlError)]


def test_every_error_has_a_code_of_its_own():
    codes = [error.code for error in every()]
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("QM-") for code in codes)


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = qmtl.errors.__doc__
    assert [error.__name__ for error in every() if error.__name__ not in drawn] == []


def test_exit_codes_are_those_of_the_command_line():
    assert {error.exit_code for error in every()} <= {1, 2, 3}


def test_an_unknown_name_offers_the_nearest_and_lists_the_rest():
    error = unknown_name("field", "clsoe", ["open", "close"])
    assert str(error) == "unknown field 'clsoe'\n  hint: did you mean 'close'? known: open, close"
    assert "there is none" in str(unknown_name("node", "a", []))
