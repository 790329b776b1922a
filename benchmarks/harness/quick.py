"""What ``make bench-quick`` measures: something of every suite, in under five minutes on two cores."""

RUNS = (
    "step --cases hippocampus --repeats 3",
    "predict --cases hippocampus objects --repeats 2",
    "op --patch 32 80 80 --repeats 3",
    "loss --cases objects --repeats 5",
    "instances --cases volume --patch 32 64 64 --window 16 16 16 --objects 40 --repeats 1",
    "instances --cases stitching metrics --objects 500 --repeats 1",
    "attention --size 64 --batch-size 2",
    "peers --repeats 2",
    "startup --repeats 20 --data-set 200",
)
