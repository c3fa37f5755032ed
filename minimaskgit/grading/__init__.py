"""Grading a class; the judge, pytest with the laws, never imports a student's code.

    grade.py ──one process per student──> pytest_plugin.py, the laws ──socket──> child.py, the student's functions

laws.py knows which functions the laws of a lesson judge, and judges.py runs a judge for each student. submissions.py
finds what students hand in, texts.py reads it, and execution.py runs it. protocol.py defines the messages on the
socket, sandbox.py is the judge's end of it, and confinement.py locks the child in. lent.py chooses the parts of the
package that the child may import, and local.py warns students of what is missing there. report.py writes what teachers
and students read, platforms.py what Moodle and Canvas read, similarity.py who shares code. variants.py draws exercises
for a class. lessons/grading.md lists what this stops and what not.
"""
