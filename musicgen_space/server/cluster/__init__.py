"""Several servers of the API behind one address, on one machine or many: Ray Serve's replicas.

Each is as ``alone`` serves one, in a process that Ray starts, watches and replaces. Ray only
carries requests: what the servers share is in the database, so which of them is asked, makes a job
or dies makes no difference, and nothing that Ray tries again is made or paid twice.
"""
