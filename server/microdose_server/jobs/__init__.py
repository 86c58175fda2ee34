"""The work between an upload and a published sequence, run by rq workers, one process per job.

queue ---> rq ---> worker ---> work          at least once
  |                  |           |
  +----- records ----+-----------+           progress and state, behind the fence
                     outcome                 how a job ends, whoever notices
"""
