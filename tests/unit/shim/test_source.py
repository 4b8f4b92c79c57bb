# SPDX-License-Identifier: Apache-2.0
"""The shim's source: its size, its warnings, and what sanitizers find."""

import itertools
import random
import struct
import subprocess
from pathlib import Path

import pytest
from tests.unit.shim.conftest import GOLDEN, HEADER, Agent, Shim, golden

from spanbridge.cni.install import built_shim

PROJECT = Path(__file__).parents[3]
SOURCE = PROJECT / "shim/shim.c"
SANITIZED = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CASES = 20_000
PROCESSES = 60
PART_MAX_BYTES = 4 << 20

ANSWERS = [golden(path.stem) for path in sorted(GOLDEN.glob("answer-*.hex"))]
CHUNKS = [b"SB\x01", b"\0", b"\xff" * 4, b'"cniVersion"', b' : "0.4.0"', b'"1.0.0', bytes(64)]


def compile_to(target: Path, *options: str, source: Path = SOURCE) -> str:
    """Compile with the machine's compiler; what it complained about."""
    done = subprocess.run(
        ["gcc", *options, "-o", target, source], capture_output=True, text=True, check=False
    )
    return done.stderr


def mutated(rng: random.Random) -> bytes:
    """A golden answer after some accidents, or plain noise."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(80))
    data = bytearray(rng.choice(ANSWERS))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = rng.choice(CHUNKS)
            case 2:
                data[4:12] = struct.pack(">II", rng.choice((0, 1, 36, 1 << 22)), rng.randrange(99))
            case 3:
                data[at : at + 1] = rng.randbytes(1)
            case _:
                data += rng.choice(CHUNKS)
    return bytes(data)


def expected_status(data: bytes) -> int:
    """The exit status that docs/reference/wire.md demands for an answer."""
    if len(data) < HEADER.size:
        return 1
    magic, version, status, out, err = HEADER.unpack(data[: HEADER.size])
    fits = max(out, err) <= PART_MAX_BYTES and len(data) >= HEADER.size + out + err
    return int(status) if (magic, version) == (b"SB", 1) and fits else 1


def test_it_has_400_lines_at_most() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 400


def test_no_line_is_longer_than_100_columns() -> None:
    assert [line for line in SOURCE.read_text().splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3"])
def test_it_compiles_without_a_warning(tmp_path: Path, level: str) -> None:
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wcast-align=strict"]

    assert compile_to(tmp_path / "shim", "-std=c11", level, *warnings) == ""


def test_what_is_built_needs_no_library() -> None:
    shim = built_shim()
    assert shim is not None
    done = subprocess.run(["ldd", shim], capture_output=True, text=True, check=False)

    assert "statically linked" in done.stdout + done.stderr


def test_thousands_of_broken_answers_touch_no_foreign_memory(tmp_path: Path) -> None:
    complaints = compile_to(
        tmp_path / "fuzz", *SANITIZED, source=Path(__file__).with_name("fuzz.c")
    )
    assert complaints == ""
    rng = random.Random(20_260)  # noqa: S311  # the same cases in every run
    cases = [mutated(rng) for _ in range(CASES)]
    done = subprocess.run(
        [tmp_path / "fuzz", tmp_path / "statuses"],
        input=b"".join(struct.pack("=I", len(case)) + case for case in cases),
        capture_output=True,
        check=False,
    )
    statuses = (tmp_path / "statuses").read_bytes()
    surprises = [
        case
        for case, status in itertools.zip_longest(cases, statuses)
        if expected_status(case) != status
    ]

    assert (done.returncode, surprises) == (0, []), done.stderr[-4000:].decode(errors="replace")


def test_whole_calls_of_a_sanitized_shim_end_in_one_document(
    shim: Shim, agent: Agent, tmp_path: Path
) -> None:
    assert compile_to(tmp_path / "bridge", *SANITIZED) == ""
    sanitized = Shim(tmp_path, shim.socket)
    rng = random.Random(11)  # noqa: S311  # the same cases in every run
    for _ in range(PROCESSES):
        agent.reply = data = mutated(rng)
        outcome = sanitized.call(stdin=rng.randbytes(rng.randrange(200)))
        assert b"Sanitizer" not in outcome.stderr, outcome.stderr.decode()
        assert b"runtime error" not in outcome.stderr, outcome.stderr.decode()
        if outcome.stdout.startswith(b'{"cniVersion": "1.1.0", "code"'):
            assert outcome.code == 11
        else:
            assert outcome.stdout == data[HEADER.size :][: HEADER.unpack(data[: HEADER.size])[3]]
            assert outcome.status == expected_status(data)
