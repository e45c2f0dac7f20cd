"""Runs a command on a terminal of its own and answers it as a person would.

Standard input: {"command": [...], "environment": {...}, "steps": [["text to wait for", "keys to press"], ...]}.
Standard output: {"code": exit code, "screen": everything that was shown}.
"""
import json, os, pty, select, sys, termios, time

wanted = json.load(sys.stdin)
child, terminal = pty.fork()
if child == 0:
    os.execvpe(wanted["command"][0], wanted["command"], wanted["environment"])
screen, seen, steps, deadline = b"", 0, list(wanted["steps"]), time.time() + 60
while time.time() < deadline:
    # A person presses keys once the question stands there; a program that reads them has switched the echo off.
    if steps and steps[0][0].encode() in screen[seen:] and not termios.tcgetattr(terminal)[3] & termios.ECHO:
        seen = len(screen)
        os.write(terminal, steps.pop(0)[1].encode())
    if not select.select([terminal], [], [], 0.05)[0]:
        continue
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    screen += piece
else:
    os.kill(child, 9)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
json.dump({"code": code, "screen": screen.decode(errors="replace"), "left": steps}, sys.stdout)
