"""IAUNet's published structure and loss, as its plans say it; for `compare_instances` and the suites."""

PUBLISHED = {
    "queries": "learned",
    "num_queries": 100,
    "width": 256,
    "levels": 3,
    "pyramid": [256],
    "blocks_per_level": 3,
    "ffn": 1024,
    "dropout": 0.1,
    "mask_channels": 256,
    "norm_op": "torch.nn.modules.batchnorm.BatchNorm2d",
    "dense": False,
    "loss": {
        "class_weight": 1.0,
        "bce_weight": 5.0,
        "dice_weight": 2.0,
        "no_object_weight": 0.1,
        "num_points": 12544,
        "dense_weight": 0.0,
    },
    "instances.score_threshold": 0.5,
}
