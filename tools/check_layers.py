#!/usr/bin/env python3
"""Checks that includes go only from a layer to those it may use, and that files and functions stay small.

What a layer may use is what its CMakeLists.txt gives `inkstone_layer` as DEPS. Exit status 1 and one line for each violation.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 80
INCLUDE = re.compile(r'^\s*#include "([a-z0-9_]+)/')


def read_layers():
    """{layer: the layers it may use}, from CMake's own lists."""
    layers = {}
    for path in (ROOT / "src").glob("*/CMakeLists.txt"):
        call = re.search(r"inkstone_layer\((\w+)((?:\s+\w+|\s+[\w:-]+)*)\)", path.read_text())
        words = call.group(2).split()
        dependencies = words[words.index("DEPS") + 1 :] if "DEPS" in words else []
        layers[call.group(1)] = set(dependencies[: dependencies.index("LIBS")] if "LIBS" in dependencies else dependencies)
    return layers


MAY_USE = read_layers()


def check_circles():
    """A layer that comes back to itself over those it may use."""
    for layer in MAY_USE:
        reached, front = set(), set(MAY_USE[layer])
        while front:
            reached |= front
            front = set().union(*(MAY_USE[other] for other in front)) - reached
        if layer in reached:
            yield f"src/{layer}/CMakeLists.txt: {layer} depends on itself by way of others"


def check_includes(path, layer):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match or match.group(1) == layer or match.group(1) in MAY_USE[layer]:
            continue
        # A test may set up its subject with the layers below the ones that it may use itself.
        if path.name.endswith("_test.cc") and match.group(1) in MAY_USE:
            continue
        yield f"{path.relative_to(ROOT)}:{number}: {layer} may not include {match.group(1)}"


def check_functions(path):
    """A function is a block whose opening line starts in column 0 or inside a class, ends with '{' and has a ')'."""
    lines = path.read_text().splitlines()
    for start, line in enumerate(lines):
        opens = re.match(r"^( {0,4})[A-Za-z_~].*\)[^;]*\{$", line) or re.match(r"^( {0,4})[A-Za-z_~][^;]*\{$", line)
        if not opens or re.match(r"\s*(namespace|class|struct|enum|extern|union|constexpr|const|static|inline constexpr)\b", line):
            continue
        if re.match(r"\s*(if|for|while|switch|else|do|try|case)\b", line):
            continue
        closing = opens.group(1) + "}"
        for end in range(start + 1, len(lines)):
            if lines[end].startswith(closing) and not lines[end].startswith(closing + " else"):
                if end - start + 1 > MAX_FUNCTION_LINES:
                    yield f"{path.relative_to(ROOT)}:{start + 1}: a function of {end - start + 1} lines, expected at most {MAX_FUNCTION_LINES}"
                break


def main():
    problems = list(check_circles())
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        parts = path.relative_to(ROOT / "src").parts
        if len(parts) > 1:
            problems += check_includes(path, parts[0])
        lines = len(path.read_text().splitlines())
        if lines > MAX_FILE_LINES:
            problems.append(f"{path.relative_to(ROOT)}: {lines} lines, expected at most {MAX_FILE_LINES}")
        problems += check_functions(path)
    print("\n".join(problems) if problems else "layers, file sizes and function sizes: fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
