"""Every name of ours that nnU-Net can ask for, in one list: kind → name → ``"module:attribute"``.

A new planner, trainer, preprocessor, label manager, reader or resampling function joins here and nowhere else.
Importing this file imports nothing.
"""

from __future__ import annotations

NAMES: dict[str, dict[str, str]] = {
    "planner": {
        "MaskMedPlanner": "maskmed_nnu.nnunet.experiment_planning.planners.maskmed:MaskMedPlanner",
        "MaskMedPlannerResEncM": "maskmed_nnu.nnunet.experiment_planning.planners.maskmed:MaskMedPlannerResEncM",
        "MaskMedPlannerResEncL": "maskmed_nnu.nnunet.experiment_planning.planners.maskmed:MaskMedPlannerResEncL",
        "IAUNetPlanner": "maskmed_nnu.nnunet.experiment_planning.planners.iaunet:IAUNetPlanner",
        "SimpleUNetPlanner": "maskmed_nnu.nnunet.experiment_planning.planners.simple_unet:SimpleUNetPlanner",
        "SimpleUNetPlanner16": "maskmed_nnu.nnunet.experiment_planning.planners.simple_unet:SimpleUNetPlanner16",
        "SimpleUNetPlanner48": "maskmed_nnu.nnunet.experiment_planning.planners.simple_unet:SimpleUNetPlanner48",
        "SimpleUNetPlannerESK": "maskmed_nnu.nnunet.experiment_planning.planners.simple_unet:SimpleUNetPlannerESK",
        "MaskAttnUNetPlanner": "maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet:MaskAttnUNetPlanner",
        "MaskAttnUNetPlannerLowRes": (
            "maskmed_nnu.nnunet.experiment_planning.planners.maskattn_unet:MaskAttnUNetPlannerLowRes"
        ),
    },
    "fingerprint extractor": {},
    "trainer": {
        "nnUNetTrainerMaskMed": "maskmed_nnu.nnunet.training.trainers.maskmed:nnUNetTrainerMaskMed",
        "nnUNetTrainerIAUNet": "maskmed_nnu.nnunet.training.trainers.iaunet:nnUNetTrainerIAUNet",
        "nnUNetTrainerSimpleUNet": "maskmed_nnu.nnunet.training.trainers.simple_unet:nnUNetTrainerSimpleUNet",
        "nnUNetTrainerMaskAttnUNet": "maskmed_nnu.nnunet.training.trainers.maskattn_unet:nnUNetTrainerMaskAttnUNet",
        "nnUNetTrainerMaskAttnUNetInstance": (
            "maskmed_nnu.nnunet.training.trainers.maskattn_unet:nnUNetTrainerMaskAttnUNetInstance"
        ),
        "nnUNetTrainerMaskAttnUNetPanoptic": (
            "maskmed_nnu.nnunet.training.trainers.maskattn_unet:nnUNetTrainerMaskAttnUNetPanoptic"
        ),
        "nnUNetTrainerMaskMedDemo": "maskmed_nnu.nnunet.training.trainers.maskmed:nnUNetTrainerMaskMedDemo",
    },
    "preprocessor": {
        "MaskMedPreprocessor": "maskmed_nnu.nnunet.preprocessing.maskmed_preprocessor:MaskMedPreprocessor",
        "InstancePreprocessor": "maskmed_nnu.nnunet.preprocessing.instance_preprocessor:InstancePreprocessor",
    },
    "label manager": {"InstanceLabelManager": "maskmed_nnu.nnunet.plans_handling.label_manager:InstanceLabelManager"},
    "reader": {"InstanceIO": "maskmed_nnu.nnunet.imageio.instance_io:InstanceIO"},
    "resampling function": {},
}
