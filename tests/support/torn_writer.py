"""Saves the completion of a task again and again as Label Studio 0.8 does: open(name, "w") and json.dump, in place.

usage: torn_writer.py PROJECT ID ROUNDS
Prints the SHA-256 of each version when it is whole. A version takes many writes (8 KB each); every third round stops in
the middle for longer than the rest period of labelsync, every fourth is followed by a pause in which it may be pushed.
"""
import hashlib
import json
import sys
import time

project, task_id, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(f"{project}/tasks.json", encoding="utf8") as tasks:
    data = json.load(tasks)[task_id]["data"]
name = f"{project}/completions/{task_id}.json"
results = [
    {"from_name": "is", "id": f"abc{j}", "to_name": "image", "type": "choices", "value": {"choices": ["cat"], "x": j / 7}}
    for j in range(400)
]
for n in range(rounds):
    completion = {"created_at": 1600000000, "id": int(task_id) * 1000 + 1, "lead_time": n / 3, "result": results}
    text = json.dumps({"id": int(task_id), "data": data, "completions": [completion]}, indent=2, sort_keys=True)
    with open(name, "w", encoding="utf8") as out:
        for at in range(0, len(text), 8192):
            out.write(text[at : at + 8192])
            out.flush()
            if n % 3 == 2 and at <= len(text) // 2 < at + 8192:
                time.sleep(0.6)
    print(hashlib.sha256(text.encode()).hexdigest(), flush=True)
    time.sleep(0.8 if n % 4 == 3 else 0.03)
