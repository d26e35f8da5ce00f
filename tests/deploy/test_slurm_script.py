"""The documents' script for a Slurm allocation, with stand-ins for Slurm, Ray and the verb: each is started, and in order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "deploy" / "docs" / "how-to" / "cluster.md"
WAIT = 'until [[ $(grep -c ^ray "$LOG") == 2 ]]; do command -p sleep 0.05; done\n'
"""Until head and workers are started, which the script does in the background."""
STAND_INS = {
    "srun": 'while [[ $1 == -* ]]; do [[ $1 == -w ]] && shift; shift; done\nexec "$@"',
    "scontrol": "printf 'node1\\nnode2\\nnode3\\nnode4\\n'",
    "hostname": "echo 10.0.0.1 fe80::1",
    "sleep": ":",
    "ray": 'echo "ray $*; token ${#RAY_AUTH_TOKEN}; mode $RAY_AUTH_MODE" >> "$LOG"',
    "ptycholive": WAIT + 'echo "ptycholive $*; $RAY_ADDRESS" >> "$LOG"',
}


def script() -> str:
    """Return the script as it stands on the page."""
    section = PAGE.read_text().partition("## A Slurm allocation")[2]
    lines = section.partition("    #!/bin/bash")[2].splitlines()
    body = [line for number, line in enumerate(lines) if all(x.startswith("    ") for x in lines[1 : number + 1])]
    return "#!/bin/bash\n" + "\n".join(line.removeprefix("    ") for line in body)


def test_the_script_starts_head_workers_and_verb(tmp_path: Path) -> None:
    batch, log = tmp_path / "batch.sh", tmp_path / "log"
    batch.write_text(script())
    assert subprocess.run(["bash", "-n", str(batch)]).returncode == 0
    for name, body in STAND_INS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    known = {"SLURM_JOB_NODELIST": "node[1-4]", "SLURM_CPUS_PER_TASK": "32", "LOG": str(log)}
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["bash", str(batch)], env=os.environ | known | path, check=True, timeout=100)
    calls = sorted(log.read_text().splitlines())
    assert len(calls) == 3
    verb, workers, head = calls
    assert "start --head" in head
    assert "--node-ip-address=10.0.0.1" in head
    assert "start --address=10.0.0.1:6379" in workers
    for call in (head, workers):
        assert "--block" in call
        assert "--num-cpus=32" in call
        assert call.endswith("token 64; mode token")
    assert verb.startswith("ptycholive predict")
    assert verb.endswith("--on auto --gpus-per-scan 0.25; 10.0.0.1:6379")
