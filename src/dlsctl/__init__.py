"""Run and look after one Dynamsoft License Server (DLS) on this Linux host.

Standard library only, Python 3.6 and later. On a host it is one file, a zip archive that Python runs and `unzip -p`
shows: an administrator at the console of an air-gapped server runs and reads the program that the deployment engines
call. Everything that must be atomic, or must survive a lost connection, happens here.

Exit codes
    0  done, or the answer is yes
    1  failed
    2  wrong usage
    3  the server is stopped
    4  the server runs but gave no healthy answer in time
    5  installed or licence files, or the host's identity, differ from what was recorded
    6  refused: an input or the host breaks a rule, nothing was changed
    7  busy: another dlsctl holds the lock
    8  blocked: an earlier run left something that only a person can decide
"""
