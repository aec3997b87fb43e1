#!/usr/bin/env python3
"""Who may know whom: templates nobody; a room of the runtime those before it in CMakeLists.txt, besides the contracts in runtime/;
the runtime never gen; what speaks for the command (gen/console) never its verbs. Read from every #include of our own.

    test_rooms.py REPOSITORY"""
import os
import re
import sys

os.chdir(sys.argv[1])
rooms = ["runtime/" + room for room in re.search(r"set\(mxrt_rooms ([a-z ]+)\)", open("CMakeLists.txt").read())[1].split()]
gen = [folder for folder, _, files in os.walk("gen") if any(name.endswith(".c") for name in files)]
lowest = {"templates": []}
for at, room in enumerate(rooms):
    lowest[room] = ["templates", "runtime"] + rooms[:at]
lowest["runtime"] = rooms  # mxrt.h and the contracts between rooms
for room in gen:
    lowest[room] = ["templates", "runtime"] + rooms + gen
lowest["gen/console"] = [room for room in lowest["gen/console"] if room != "gen/command"]

home, failures, seen = {}, [], 0
for room in lowest:
    for name in os.listdir(room):
        if name.endswith((".h", ".cuh", ".def")):
            if name in home:
                failures.append(f"{name} is in {home[name]} and in {room}")
            home[name] = room
for room, known in lowest.items():
    for name in sorted(os.listdir(room)):
        if not name.endswith((".c", ".h", ".cu", ".cuh")):
            continue
        for included in re.findall(r'^#include "([^"]+)"', open(f"{room}/{name}").read(), re.M):
            seen += 1
            of = home.get(included)
            if of is None and included != "mx_params.h":  # generated
                failures.append(f"{room}/{name} includes {included}, which is in no room")
            elif of is not None and of != room and of not in known:
                failures.append(f"{room}/{name} includes {included} of {of}, which it may not know")
print("\n".join(failures) or f"{seen} inclusions between {len(home)} headers of {len(lowest)} rooms")
sys.exit(bool(failures) or seen < 500)
