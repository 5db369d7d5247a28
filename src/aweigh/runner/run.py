"""The entry: `python3 -IS run.py` serves the package that lies beside it. Imported, as AWS's own Python does with a zip, it is a Lambda handler: `run.handler`.

run.py [serve] [--port N] [--host ADDRESS|unix:PATH]   serves; PORT, AIP_HTTP_PORT and HOST say the same
run.py --once [--parts]                                replays the golden set, answers its first row as a request, ends; parts of the start as JSON
AWS_LAMBDA_RUNTIME_API=… run.py                        answers Lambda's events
"""

from time import perf_counter, process_time

_BEGAN, _START_S = perf_counter(), process_time()

import sys  # noqa: E402  # the clock comes first

_FOLDER = __file__.rpartition("/")[0] or "."
if _FOLDER not in sys.path:
    sys.path.insert(0, _FOLDER)  # -I leaves it out

_CODE = "runner"
main = __import__(f"{_CODE}.main", fromlist=["main"])  # of the folder beside this file

if __name__ == "__main__":
    sys.exit(main.main(sys.argv[1:], _FOLDER, _BEGAN, _START_S))
handler = main.lambda_handler(_FOLDER, _BEGAN, _START_S)
