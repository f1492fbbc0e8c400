"""Each row of the security checklist that this service claims is named by the docstring of a test."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
SPAN = re.compile(r"\b([A-Z]{2})(\d+)(?:–(\d+))?\b")

ROW = re.compile(r"^\| ([A-Z]{2}\d+) \|", re.MULTILINE)


def claimed() -> list[str]:
    """The ids of REQUIREMENTS.md's rows."""
    return ROW.findall((Path(__file__).parent / "REQUIREMENTS.md").read_text(encoding="utf-8"))


def ids(text: str) -> set[str]:
    """`TK1`, and each of `TK1–13`."""
    return {
        f"{area}{number}"
        for area, first, last in SPAN.findall(text)
        for number in range(int(first), int(last or first) + 1)
    }


def named(source: str) -> dict[str, set[str]]:
    """By test, the ids that its docstring, or that of its class, names."""
    found: dict[str, set[str]] = {}

    def visit(node: ast.Module | ast.ClassDef, inherited: set[str]) -> None:
        for child in node.body:
            if isinstance(child, ast.ClassDef) and child.name.startswith("Test"):
                visit(child, inherited | ids(ast.get_docstring(child) or ""))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name.startswith("test_"):
                found[child.name] = inherited | ids(ast.get_docstring(child) or "")

    visit(ast.parse(source), set())
    return found


class TestChecklist:
    def test_every_claimed_row_has_a_test_that_names_it(self) -> None:
        tested: set[str] = set()
        for file in sorted(TESTS.rglob("test_*.py")):
            tested.update(*named(file.read_text(encoding="utf-8")).values())
        missing = set(claimed()) - tested
        assert not missing, f"no test names {', '.join(sorted(missing))}"

    def test_every_row_is_read_and_each_id_is_one_rows(self) -> None:
        assert ids("TK1–3 AZ1 HT12") == {"TK1", "TK2", "TK3", "AZ1", "HT12"}
        assert {"TK1", "TK21", "VC11", "AU23", "OP1", "ID7", "IM9"} <= set(claimed())
        assert len(claimed()) == len(set(claimed()))

    def test_only_docstrings_of_tests_count(self) -> None:
        source = '''
"""TK1: a module's docstring is no test."""
# TK2
class TestThings:
    """TK3: of a class counts for its tests."""
    def test_one(self):
        """TK4, TK5: two rows."""
        assert "TK6"
    def helper(self):
        """TK7"""
'''
        assert named(source) == {"test_one": {"TK3", "TK4", "TK5"}}
