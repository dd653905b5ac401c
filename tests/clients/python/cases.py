"""Cases that run one after the other: a line for each, and an exit code that says whether all passed."""

import os
import sys
import traceback

# A picture of one point.
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def setting(name):
    """What the test that started this program says."""
    return os.environ[name]


def raises(kind, call):
    """The error of `call`, which must be of exactly this class."""
    try:
        call()
    except Exception as error:
        assert type(error) is kind, f"{type(error).__mro__} instead of {kind.__name__}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}")


def run(cases):
    """Runs all and ends the program."""
    failed = 0
    for case in cases:
        try:
            case()
            print(f"ok {case.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED {case.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not cases else 0)
