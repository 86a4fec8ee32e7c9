# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role says of governed jobs that can't be, before it writes anything; its scenarios run those that can."""

from __future__ import annotations

from typing import Any

from support.playbook import run_playbook

GOOD = {"name": "report", "governor": "REPORTS", "command": "report", "on_calendar": "*:0/30"}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a path for a name": ({"name": "../report"}, "the name is a part of file names"),
    "two lines for a name": ({"name": "report\n"}, "the name is a part of file names"),
    "no governor": ({"governor": ""}, "governor is no name of a governor"),
    "a governor with a space": ({"governor": "A B"}, "governor is no name of a governor"),
    "nothing that starts it": ({"on_calendar": ""}, "give schedule, for cron, or on_calendar"),
    "both": ({"schedule": "@daily"}, "give schedule, for cron, or on_calendar"),
    "six fields": ({"schedule": "* * * * * *", "on_calendar": ""}, "schedule is none of cron's"),
    "two lines": ({"schedule": "@daily\n* * * * *", "on_calendar": ""}, "schedule is none of cron's"),
    "no command": ({"command": " "}, "command has to be one line"),
    "two commands": ({"command": "a\nb"}, "command has to be one line"),
    "a user with options": ({"user": "-c x"}, "user is no name of a user"),
    "a client's token": ({"config": "/etc/choria/client.conf"}, "'choria governor run' takes no token but a server's"),
    "a bad variable": ({"environment": {"A-B": "x"}}, "environment has a name that a variable can't have"),
}


def test_jobs_that_can_t_be() -> None:
    jobs = {"good": GOOD, "gone": {"name": "report", "state": "absent"}}
    jobs.update({label: {**GOOD, **bad} for label, (bad, _says) in BAD.items()})
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    check = {
        "ansible.builtin.include_role": {"name": "choria.streams.choria", "tasks_from": "job/check"},
        "vars": {"choria_security_provider": "choria", "_choria_job": "{{ _choria_job_defaults | combine(job) }}"},
    }
    result = run_playbook(
        [{"hosts": "all", "gather_facts": False, "tasks": [check]}],
        inventory={"all": {"hosts": {label: {"job": job} for label, job in jobs.items()}, "vars": local}},
    )
    # Not every machine that runs tests has systemd
    known = {task.host: task for task in result.tasks if task.name.endswith("Check the job")}
    assert {host for host, task in known.items() if task.status == "failed"} == set(BAD)
    for label, (_bad, says) in BAD.items():
        assert says in str(known[label].result), known[label].result
