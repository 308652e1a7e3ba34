"""The same model behind other servers, asked in turn with ours. Prints one JSON object.

    pip install litserve "ray[serve]"
    python -m benchmarks.peers --json
    python -m benchmarks.peers --json --peers litserve --seconds 5 --rounds 3

Each server has a worker for each core, which draws batches of up to eight with `Pipeline.draw` and
packs PNG files: the same work. Each is asked by as many callers in a closed loop, ours by its own
client over gRPC, the others over HTTP/1.1 on connections that stay open, by a client that does
nothing else. Ours and one peer are asked in turn, several times, because a shared machine is faster
in one minute than in the next; ratios are medians of ratios of neighbours in time. The raw batched
forward pass is measured in the same turns.
"""
