"""MaskMed on nnU-Net's residual encoder, preset L. Made for a GPU with about 24 GB.

    nnUNetv2_plan_and_preprocess -d 4 -pl MaskMedPlannerResEncL --verify_dataset_integrity
    nnUNetv2_train 4 3d_fullres 0 -p MaskMedResEncLPlans -tr nnUNetTrainerMaskMed
    nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -p MaskMedResEncLPlans -tr nnUNetTrainerMaskMed -i IMAGES -o PREDICTIONS

Everything that the planner chooses is in ``MaskMedResEncLPlans.json``, under ``architecture`` and ``set_loss``.
"""

from maskmed_nnu.nnunet.experiment_planning.planners.maskmed import MaskMedPlannerResEncL
