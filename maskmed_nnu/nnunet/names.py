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
    },
    "fingerprint extractor": {},
    "trainer": {
        "nnUNetTrainerMaskMed": "maskmed_nnu.nnunet.trainers.maskmed:nnUNetTrainerMaskMed",
        "nnUNetTrainerMaskMedDemo": "maskmed_nnu.nnunet.trainers.maskmed:nnUNetTrainerMaskMedDemo",
    },
    "preprocessor": {"MaskMedPreprocessor": "maskmed_nnu.nnunet.preprocessor:MaskMedPreprocessor"},
    "label manager": {},
    "reader": {"InstanceIO": "maskmed_nnu.nnunet.instances.reader:InstanceIO"},
    "resampling function": {},
}
