#!/usr/bin/env python3
"""Stands for a Python with TensorFlow: behaves, or misbehaves, as the request's path says."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

if "child_main" in sys.argv[-1]:  # asked to run a model, it is a Python like any other
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])

request = json.loads(sys.stdin.readline())
folder = Path(request["folder"])
case = Path(request["path"]).name


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def answer(value: object) -> None:
    (folder / "answer.json").write_text(json.dumps(value))


say("INFO: hundreds of lines")
say("W0000 00:00 cuda: not found")
if case == "aborts":
    say("F0000 check failed: shape.rank() == 2")
    os.abort()
elif case == "killed":
    os.kill(os.getpid(), 9)
elif case == "hangs":
    Path(os.environ["FAKE_PID"]).write_text(str(os.getpid()))
    time.sleep(600)
elif case == "silent":
    sys.exit(3)
elif case == "garbled":
    (folder / "answer.json").write_text('{"file": "mod')
elif case == "floods":
    for _ in range(40_000):
        say("INFO: " + "x" * 100)
    answer({"error": "RecipeError", "message": "no signature 'a'"})
elif case == "refuses":
    answer({"error": "UnsupportedError", "message": "input 'x' leaves sizes open"})
elif case == "strange":
    answer({"error": "os", "message": "neither class"})
elif case == "missing":
    answer({"missing": "tensorflow"})
elif case == "damaged":
    (folder / "model.tflite").write_bytes(b"not a model")
    answer({"file": "model.tflite", "description": "", "signature": "s", "inputs": {}, "outputs": {}})
else:
    name = os.environ.get("FAKE_RESULT", "model.tflite")
    shutil.copy(os.environ["FAKE_MODEL"], folder / name)
    names = {"inputs": {"input_0": "image"}, "outputs": {"output_0": "scores"}}
    answer({"file": name, "description": "converted by a fake", "signature": "classify", **names})
