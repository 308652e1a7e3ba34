import os

# Read when gRPC is first imported. Whoever forks to start another program, as Ray does, would else
# have gRPC end in the child the connections that it shares with this process.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
