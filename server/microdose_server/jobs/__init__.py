"""The work between an upload and a published sequence, run by rq workers, one process per job.

queue ---> rq ---> worker ---> horse: attempt, work      at least once
  |                  |  '- supervise, lease: while it works
  +----- records ----+---- outcome                       state, behind the fence; how jobs end
  |
recovery: what is neither in line nor held goes back to the queue
"""
