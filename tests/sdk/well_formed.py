"""`python well_formed.py swift|dart FOLDER` lists the lines that the language's grammar does not know."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tree_sitter import Language, Node, Parser


def faults(parser: Parser, file: Path) -> Iterator[str]:
    waiting: list[Node] = [parser.parse(file.read_bytes()).root_node]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            yield f"{file.name}:{node.start_point[0] + 1}"
        elif node.has_error:
            waiting.extend(node.children)


if __name__ == "__main__":
    language, folder = sys.argv[1:]
    grammar = importlib.import_module(f"tree_sitter_{language}")
    parser = Parser(Language(grammar.language()))
    for file in sorted(Path(folder).glob(f"**/*.{language}")):
        print(file.name, *faults(parser, file))
