"""Every name of ours that nnU-Net can ask for, in one list: kind → name → ``"module:attribute"``.

A new planner, trainer, preprocessor, label manager, reader or resampling function joins here and nowhere else.
Importing this file imports nothing.
"""

from __future__ import annotations

NAMES: dict[str, dict[str, str]] = {
    "planner": {
        "MaskMedPlanner": "maskmed_nnu.nnunet.planners.maskmed:MaskMedPlanner",
        "MaskMedPlannerResEncM": "maskmed_nnu.nnunet.planners.maskmed:MaskMedPlannerResEncM",
        "MaskMedPlannerResEncL": "maskmed_nnu.nnunet.planners.maskmed:MaskMedPlannerResEncL",
        "IAUNetPlanner": "maskmed_nnu.nnunet.planners.iaunet:IAUNetPlanner",
        "SimpleUNetPlanner": "maskmed_nnu.nnunet.planners.simple_unet:SimpleUNetPlanner",
        "SimpleUNetPlanner16": "maskmed_nnu.nnunet.planners.simple_unet:SimpleUNetPlanner16",
        "SimpleUNetPlanner48": "maskmed_nnu.nnunet.planners.simple_unet:SimpleUNetPlanner48",
        "SimpleUNetPlannerESK": "maskmed_nnu.nnunet.planners.simple_unet:SimpleUNetPlannerESK",
        "MaskAttnUNetPlanner": "maskmed_nnu.nnunet.planners.maskattn_unet:MaskAttnUNetPlanner",
        "MaskAttnUNetPlannerLowRes": "maskmed_nnu.nnunet.planners.maskattn_unet:MaskAttnUNetPlannerLowRes",
    },
    "fingerprint extractor": {},
    "trainer": {
        "nnUNetTrainerMaskMed": "maskmed_nnu.nnunet.trainers.maskmed:nnUNetTrainerMaskMed",
        "nnUNetTrainerIAUNet": "maskmed_nnu.nnunet.trainers.iaunet:nnUNetTrainerIAUNet",
        "nnUNetTrainerSimpleUNet": "maskmed_nnu.nnunet.trainers.simple_unet:nnUNetTrainerSimpleUNet",
        "nnUNetTrainerMaskAttnUNet": "maskmed_nnu.nnunet.trainers.maskattn_unet:nnUNetTrainerMaskAttnUNet",
        "nnUNetTrainerMaskAttnUNetInstance": (
            "maskmed_nnu.nnunet.trainers.maskattn_unet:nnUNetTrainerMaskAttnUNetInstance"
        ),
        "nnUNetTrainerMaskAttnUNetPanoptic": (
            "maskmed_nnu.nnunet.trainers.maskattn_unet:nnUNetTrainerMaskAttnUNetPanoptic"
        ),
        "nnUNetTrainerMaskMedDemo": "maskmed_nnu.nnunet.trainers.maskmed:nnUNetTrainerMaskMedDemo",
    },
    "preprocessor": {
        "MaskMedPreprocessor": "maskmed_nnu.nnunet.preprocessor:MaskMedPreprocessor",
        "InstancePreprocessor": "maskmed_nnu.nnunet.instances.preprocessor:InstancePreprocessor",
    },
    "label manager": {"InstanceLabelManager": "maskmed_nnu.nnunet.instances.label_manager:InstanceLabelManager"},
    "reader": {"InstanceIO": "maskmed_nnu.nnunet.instances.reader:InstanceIO"},
    "resampling function": {},
}
