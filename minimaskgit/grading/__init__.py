"""Grading a class, in pieces: the judge never imports a student's code.

    grade.py ──a process a student──> judge.py, the laws ──socket──> child.py, the student's functions, locked in

protocol.py is what the two say to each other, confinement.py the lock, sandbox.py the judge's end of the socket,
lent.py what of the package the child may see, submissions.py what students hand in, report.py what a teacher reads.
lessons/grading.md says what this stops and what it does not.
"""
