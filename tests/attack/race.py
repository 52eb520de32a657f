"""Two compress runs to one name, and outputs that are no regular files: a finished file is whole, and replaces nothing else.

Every race ends with one of the two whole files, made by a run that says it succeeded; nothing else is left.
"""
import argparse
import os
import pathlib
import socket
import stat
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RACES = 12
failures = 0


def check(good, what, found=""):
    global failures
    failures += not good
    print(("ok      " if good else "FAILED  ") + what + ("" if good else f": {found}"))


def compress(program, model, output, kind, *more):
    words = [program, "compress", model, "-o", str(output), "--type", kind, "--threads", "1", *map(str, more)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "no end", ""
    return process.returncode, errors


def races(program, model, folder):
    whole = {}
    for kind in ("Q8_0", "Q4_0"):
        path = folder / f"whole-{kind}.gguf"
        finish(compress(program, model, path, kind))
        whole[kind] = path.read_bytes()
    mixed, nobody, unclear, left = 0, 0, 0, set()
    for race in range(RACES):
        output = folder / f"race-{race}" / "out.gguf"
        output.parent.mkdir()
        ends = [finish(run) for run in [compress(program, model, output, kind) for kind in whole]]
        nobody += not any(code == 0 for code, _ in ends)
        unclear += sum(code != 0 and "another run is writing" not in errors for code, errors in ends)
        mixed += not output.exists() or output.read_bytes() not in whole.values()
        left |= {path.name for path in output.parent.iterdir()} - {"out.gguf"}
    check(mixed == 0, f"{RACES} races left whole files", f"{mixed} mixed or missing")
    check(nobody == 0, "one run at least succeeds", f"{nobody} races without one")
    check(unclear == 0, "the other one is told why", f"{unclear} other errors")
    check(not left, "nothing else is left", left)


def other_things(program, model, folder):
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(folder / "socket"))
    names = ["pipe", "folder", "socket"]
    try:
        os.mknod(folder / "nul", stat.S_IFCHR | 0o600, os.makedev(1, 3))  # one of its own, never that of the machine
        names.append("nul")
    except PermissionError:
        pass
    for name in names:
        path = folder / name
        before = os.lstat(path)
        for more in [(path,), (folder / "x.gguf", "--report", path), (folder / "x.gguf", "--save-imatrix", path)]:
            code, errors = finish(compress(program, model, more[0], "Q8_0", *more[1:]))
            after = os.lstat(path)
            same = (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
            option = more[1] if len(more) > 1 else "-o"
            check(code == 1 and same and name in errors, f"{option} to a {name} is refused", f"status {code}, same: {same}, {errors}")
    check(not (folder / "x.gguf").exists(), "and before any work", "x.gguf was written")


def links(program, model, folder):
    (folder / "elsewhere").mkdir()
    (folder / "link.gguf").symlink_to("elsewhere/x.gguf")
    code, errors = finish(compress(program, model, folder / "link.gguf", "Q8_0"))
    target = folder / "elsewhere" / "x.gguf"
    check(code == 0 and (folder / "link.gguf").is_symlink() and target.is_file(), "a symbolic link is followed and stays", errors)
    before = target.read_bytes()
    os.link(target, folder / "hard.gguf")
    for name in ("hard.gguf", "link.gguf"):
        code, errors = finish(compress(program, str(target), folder / name, "Q4_0"))
        check(code == 1 and "the source itself" in errors and target.read_bytes() == before, f"{name}, which is the source, is refused", errors)
    (folder / "precious").write_text("precious")
    (folder / "trap.gguf.part").symlink_to(folder / "precious")
    code, errors = finish(compress(program, model, folder / "trap.gguf", "Q8_0"))
    check(code == 1 and (folder / "precious").read_text() == "precious", "a link in place of the part file is not followed", errors)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/inkstone"))
    parser.add_argument("--model", default=str(ROOT / "tests/data/tiny-qwen3"))
    options = parser.parse_args()
    for scenario in (races, other_things, links):
        with tempfile.TemporaryDirectory(prefix="inkstone-race-") as folder:
            scenario(options.program, options.model, pathlib.Path(folder))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
