from __future__ import annotations

import subprocess
import sys

BLOCKED = ("torch", "scipy", "pandas", "cv2", "sklearn")


def test_a_csv_is_read_split_and_checked_in_the_base_install(tmp_path, draw):
    lines = [f"{draw(f'{i}.png', seed=i).name},{10 * i}\n" for i in range(8)]
    (tmp_path / "set.csv").write_text("path,score\n" + "".join(lines))
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({BLOCKED}))\n"
        "from pathlib import Path\n"
        "from noref.data.readers import READERS\n"
        "from noref.data.splits import random_split\n"
        "from noref.data.check import check\n"
        "from noref.data.perceptual_hash import training_hashes, unpack\n"
        "from noref.errors import MissingExtraError\n"
        "records = READERS['csv'](Path(sys.argv[1]))\n"
        "random_split(records, seed=0)\n"
        "assert unpack(training_hashes(records)).shape == (8, 256)\n"
        "assert check('csv', sys.argv[1]).exit_status == 0\n"
        "try:\n"
        "    READERS['livec'](Path(sys.argv[1]))\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "set.csv"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'noref[train]'" in done.stdout
